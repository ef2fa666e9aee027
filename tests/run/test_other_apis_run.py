"""Runs whose endpoints speak another API than chat: from the rows to the results, the bill and the exports."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow.dataset as ds
import pytest
from aiohttp import web

import jobs
from batchroute.job.load import load_job
from batchroute.report.export.files import export_run
from batchroute.run.check import check_job
from batchroute.run.engine import run_job
from batchroute.run.options import RunOptions
from dialect_answers import MODELS, whole
from upstream import upstream

if TYPE_CHECKING:
    from pathlib import Path

    from upstream import Say

APIS = ("responses", "anthropic")
PATHS = {"responses": "/v1/responses", "anthropic": "/v1/messages"}
CALL = [{"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at":"cat"}'}}]


@pytest.fixture(params=APIS)
def api(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def asked_in(body: dict[str, Any]) -> str:
    return str(next(m["content"] for m in body.get("input", body.get("messages")) if m["role"] == "user"))


def saying(api: str) -> Say:
    """Calls a function, refuses or answers, as the prompt says; the first try of one row meets a full server."""
    overloaded: set[str] = set()

    async def say(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        assert request.path == PATHS[api]
        text = asked_in(body)
        if "overload" in text and text not in overloaded:
            overloaded.add(text)
            error = {"type": "overloaded_error", "message": "Overloaded"}
            return web.json_response({"type": "error", "error": error}, status=529)
        if "call" in text:
            return web.json_response(whole(api, None, call=True))
        return web.json_response(
            whole(api, None, refusal="No.") if "refuse" in text else whole(api, f"So: {text}")
        )

    return say


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def job_file(folder: Path, api: str, url: str, **changes: Any) -> Path:
    ours = {
        **jobs.on_both("api", api),
        **jobs.on_both("base_url", url),
        **jobs.on_both("params", {"max_completion_tokens": 90}),
        **jobs.on_both("price", dict(jobs.PRICE)),
    }
    return jobs.write_job(folder, ours, changes)


def ended(job: Path) -> int:
    return run_job(load_job(job, environ={}), RunOptions(environ={})).exit_code(0.0)


def results(folder: Path) -> list[dict[str, Any]]:
    table = ds.dataset(folder / "results", format="parquet").to_table().sort_by("row")
    return list(table.to_pylist())


def test_rows_are_answered_and_billed(tmp_path: Path, api: str) -> None:
    prompts = ["Hi", "call", "refuse", "overload"]
    write_rows(tmp_path, [{"prompt": text} for text in prompts])
    with upstream(saying(api)) as asked:
        assert ended(job_file(tmp_path, api, asked.url, **{"output.raw": True})) == 0
    rows = results(tmp_path / "run")
    assert [row["response"] for row in rows] == ["So: Hi", None, None, "So: overload"]
    assert [row["finish_reason"] for row in rows] == ["stop", "tool_calls", "refusal", "stop"]
    assert json.loads(rows[1]["tool_calls"]) == CALL
    assert (rows[2]["refusal"], rows[0]["reasoning"], rows[3]["attempts"]) == ("No.", "Hm.", 2)
    assert {row["served_model"] for row in rows} == {MODELS[api]}
    for row in rows:
        assert (row["prompt_tokens"], row["cached_tokens"], row["completion_tokens"]) == (120, 100, 10)
        # 20 at 2.00, 100 from the cache at 0.50, 10 out at 10.00, by the million
        assert Decimal(repr(row["cost_usd"])) == Decimal("0.00019")
    assert json.loads(rows[0]["raw"]) == whole(api, "So: Hi")
    assert {body["stream"] for body in asked.bodies()} == {False}


def test_a_check_says_what_an_endpoint_speaks(tmp_path: Path, api: str) -> None:
    write_rows(tmp_path, [{"prompt": "Hi"}])
    path = job_file(tmp_path, api, "http://127.0.0.1:9/v1")
    notes = check_job(lambda: load_job(path, environ={})).notes
    assert len([note for note in notes if f", http://127.0.0.1:9/v1 (the {api} API); " in note]) == 2


def test_batch_lines_come_out_as_chat_completions(tmp_path: Path, api: str) -> None:
    def line(custom_id: str, **body: Any) -> dict[str, Any]:
        asks = {"messages": [{"role": "user", "content": custom_id}], **body}
        return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": asks}

    write_rows(tmp_path, [line("a", max_tokens=7), line("call", max_completion_tokens=8), line("c", seed=3)])
    with upstream(saying(api)) as asked:
        path = job_file(tmp_path, api, asked.url, **{"input.format": "openai-batch"})
        assert ended(path) == 3
    bound = {"responses": "max_output_tokens", "anthropic": "max_tokens"}[api]
    assert {asked_in(body): body[bound] for body in asked.bodies()} == {"a": 7, "call": 8}
    export_run(tmp_path / "run", tmp_path / "out.jsonl", format="openai-batch")
    first, second, third = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert first["response"]["body"]["choices"][0]["message"]["content"] == "So: a"
    assert second["response"]["body"]["choices"][0]["message"]["tool_calls"] == CALL
    assert second["response"]["body"]["usage"]["prompt_tokens_details"]["cached_tokens"] == 100
    assert third["error"] == {
        "code": "bad_row",
        "message": f"seed: the {api} API has no such field; remove it",
    }


def test_equal_requests_are_taken_over_unless_the_api_is_another(tmp_path: Path, api: str) -> None:
    write_rows(tmp_path, [{"prompt": text} for text in ("Hi", "Ho")])
    with upstream(saying(api)) as asked:
        ended(job_file(tmp_path, api, asked.url))
        ended(job_file(tmp_path, api, asked.url, **{"input.reuse": "run", "output.path": "again"}))
        assert len(asked.seen) == 2
    assert [row["attempts"] for row in results(tmp_path / "again")] == [0, 0]
    (other,) = set(APIS) - {api}
    with upstream(saying(other)) as asked:
        ended(job_file(tmp_path, other, asked.url, **{"input.reuse": "run", "output.path": "other"}))
        assert len(asked.seen) == 2


def test_a_budget_holds(tmp_path: Path, api: str) -> None:
    write_rows(tmp_path, [{"prompt": "x" * 40}] * 200)
    with upstream(saying(api)) as asked:
        path = job_file(tmp_path, api, asked.url, **{"limits.max_cost_usd": 0.02})
        assert ended(path) == 4
    # An answer costs $0.00019, so 105 fit; what one may cost, about $0.0011, is reserved before it is sent.
    assert 90 < len(asked.seen) <= 105


def test_simulated_endpoints_speak_it(tmp_path: Path, api: str) -> None:
    write_rows(tmp_path, [{"prompt": f"Say {number}."} for number in range(20)])
    simulated = {
        **jobs.simulated(latency_s=0.0),
        **jobs.on_both("api", api),
        **jobs.on_both("params", {"max_completion_tokens": 90}),
    }
    job = jobs.write_job(tmp_path, simulated, jobs.on_both("price", dict(jobs.PRICE)))
    assert ended(job) == 0
    rows = results(tmp_path / "run")
    assert all(row["response"].startswith("[simulated]") and row["cost_usd"] > 0 for row in rows)
    assert {row["finish_reason"] for row in rows} <= {"stop", "length"}
