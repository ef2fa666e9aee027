"""Answers taken over from finished runs, counted at the provider."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from batchroute.errors import RunFault
from batchroute.report.build import build_report
from batchroute.run.engine import run_job
from batchroute.run.options import RunOptions
from batchroute.send.dialects.chat import ChatBody
from batchroute.send.reuse import Reuse, answered_parts
from batchroute.store.layout import fingerprints_of
from batchroute.types import Prompt
from inputs import lines
from jobs import job_of
from runs import ok, write_run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from batchroute.run.end import RunEnd
    from batchroute.run.progress import Progress
    from servers import ThreadedSimulator

ROWS = 120
# What an answer is, whoever paid for it and when.
ANSWER = ("file", "row", "score", "route", "route_reason", "model", "served_model", "status", "response")
TOKENS = ("finish_reason", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")


def prompts(first: int = 0) -> list[dict[str, Any]]:
    return [{"prompt": f"question {row} " + "x" * (row * 37 % 1000)} for row in range(first, first + ROWS)]


def run(
    folder: Path, server: ThreadedSimulator, name: str, changes: Mapping[str, Any] | None = None, **options: Any
) -> RunEnd:
    """One night: the folder's prompts.jsonl into the directory `name`."""
    urls = {f"endpoints.{side}.base_url": server.url for side in ("strong", "weak")}
    job = job_of(folder / "prompts.jsonl", folder / name, {**urls, **(changes or {})})
    return run_job(job, RunOptions(environ={}, **options))


def results(run_directory: Path, *columns: str) -> list[dict[str, Any]]:
    table = ds.dataset(run_directory / "results").to_table(columns=list(columns) or None)
    return sorted(table.to_pylist(), key=lambda row: row.get("row", 0))


def test_the_same_night_again_costs_nothing_and_says_the_same(tmp_path: Path, server: ThreadedSimulator) -> None:
    lines(tmp_path / "prompts.jsonl", *prompts(), "{torn")
    run(tmp_path, server, "first")
    paid = server.stats().requests
    end = run(tmp_path, server, "second", {"input.reuse": [str(tmp_path / "first")]})
    assert server.stats().requests == paid == ROWS
    assert (end.ok, end.refused, end.complete) == (ROWS, 1, True)
    first, second = (results(tmp_path / name, *ANSWER, *TOKENS) for name in ("first", "second"))
    assert first == second
    taken = results(tmp_path / "second", "status", "attempts", "cost_usd", "latency_s")[:ROWS]
    assert taken == [{"status": "ok", "attempts": 0, "cost_usd": 0.0, "latency_s": None}] * ROWS
    report = build_report(tmp_path / "second")
    assert (report.state, report.cost_usd, report.attempts, report.retries) == ("refusals", 0.0, 0, 0)
    assert (report.reused, report.cost_unknown_rows) == (ROWS, 0)
    assert report.all_strong_usd == build_report(tmp_path / "first").all_strong_usd
    run(tmp_path, server, "third", {"input.reuse": [str(tmp_path / "second")]})
    assert server.stats().requests == paid, "what was taken over can be taken over again"


def test_rows_that_moved_side_are_asked_and_no_others(tmp_path: Path, server: ThreadedSimulator) -> None:
    lines(tmp_path / "prompts.jsonl", *prompts())
    run(tmp_path, server, "first")
    before = {row["row"]: row["route"] for row in results(tmp_path / "first")}
    paid = server.stats().requests
    run(tmp_path, server, "second", {"input.reuse": [str(tmp_path / "first")], "routing.threshold": 0.6})
    after = results(tmp_path / "second")
    moved = {row["row"] for row in after if row["route"] != before[row["row"]]}
    assert 0 < len(moved) < ROWS
    assert {row["row"] for row in after if row["attempts"]} == moved
    assert server.stats().requests - paid == len(moved)


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoints.strong.model": "other", "endpoints.weak.model": "another"},
        {"endpoints.strong.params": {"temperature": 0.5}, "endpoints.weak.params": {"temperature": 0.5}},
        {"input.system": "Be terse."},
    ],
    ids=["model", "params", "messages"],
)
def test_another_request_is_asked(tmp_path: Path, server: ThreadedSimulator, changes: Mapping[str, Any]) -> None:
    lines(tmp_path / "prompts.jsonl", *prompts())
    run(tmp_path, server, "first")
    run(tmp_path, server, "second", {"input.reuse": [str(tmp_path / "first")], **changes})
    assert server.stats().requests == 2 * ROWS


def test_params_are_the_same_in_whatever_order_and_place(tmp_path: Path, server: ThreadedSimulator) -> None:
    lines(tmp_path / "prompts.jsonl", *prompts())
    params = {"temperature": 0.5, "max_tokens": 7, "stop": {"b": 1, "a": 2}}
    sides = ("strong", "weak")
    run(tmp_path, server, "first", {f"endpoints.{side}.params": params for side in sides})
    turned = {"stop": {"a": 2, "b": 1}, "temperature": 0.5}
    lines(tmp_path / "prompts.jsonl", *({**row, "own": {"max_tokens": 7}} for row in prompts()))
    own = {f"endpoints.{side}.params": turned for side in sides}
    run(tmp_path, server, "second", {"input.reuse": [str(tmp_path / "first")], "input.params": "own", **own})
    assert server.stats().requests == ROWS


def test_what_is_in_a_param_is_sent_in_the_order_in_which_it_is_written() -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"why": {"type": "string"}, "answer": {"type": "string"}},
    }
    prompt = Prompt("a", 0, None, b"[]", {"response_format": schema, "a": 1})
    written = [ChatBody("m", {"response_format": schema, "a": 1})(msgspec.structs.replace(prompt, params=None))]
    written.append(ChatBody("m", {"a": 2})(prompt))
    backwards = dict(reversed(schema["properties"].items()))
    turned = {"a": 1, "response_format": {"properties": backwards, "type": "object"}}
    other = ChatBody("m", turned)(msgspec.structs.replace(prompt, params=None))
    for body in written:
        assert body.sent.index(b"why") < body.sent.index(b"answer")
        assert body.identity.index(b"answer") < body.identity.index(b"why")
        assert body.identity == (other.identity or other.sent)
    assert other.sent.index(b"answer") < other.sent.index(b"why")


def test_nights_that_overlap_pay_for_each_prompt_once(tmp_path: Path, server: ThreadedSimulator) -> None:
    lines(tmp_path / "prompts.jsonl", *prompts())
    run(tmp_path, server, "monday")
    lines(tmp_path / "prompts.jsonl", *prompts(ROWS))
    run(tmp_path, server, "tuesday")
    # Wednesday's file has rows of both nights in another order, one of them twice, and new ones.
    old = [*reversed(prompts(ROWS)[:50]), *prompts()[70:], prompts()[70]]
    lines(tmp_path / "prompts.jsonl", *old, *prompts(2 * ROWS)[:9])
    before = server.stats().requests
    nights = [str(tmp_path / night) for night in ("monday", "tuesday")]
    run(tmp_path, server, "wednesday", {"input.reuse": nights})
    assert server.stats().requests - before == 9
    answers = {row["row"]: row["response"] for row in results(tmp_path / "wednesday")}
    monday = {row["row"]: row["response"] for row in results(tmp_path / "monday")}
    assert answers[50] == answers[len(old) - 1] == monday[70]
    assert build_report(tmp_path / "wednesday").reused == len(old)


def test_only_answers_are_taken_over(tmp_path: Path, server: ThreadedSimulator) -> None:
    lines(tmp_path / "prompts.jsonl", *prompts())
    server.control({"faults": {"422": 0.2}, "error_rate": 0.2})
    once = {f"endpoints.{side}.max_attempts": 1 for side in ("strong", "weak")}
    end = run(tmp_path, server, "first", {**once, "limits.outage_s": 1.0})  # the last rows that fail wait so long
    assert 0 < end.ok < ROWS
    server.control({"faults": {}, "error_rate": 0.0})
    before = server.stats().requests
    run(tmp_path, server, "second", {"input.reuse": [str(tmp_path / "first")]})
    assert server.stats().requests - before == ROWS - end.ok


def test_it_goes_on_after_an_interruption(tmp_path: Path, server: ThreadedSimulator) -> None:
    lines(tmp_path / "prompts.jsonl", *prompts())
    run(tmp_path, server, "first")

    async def at_once(progress: Progress) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    before = server.stats().requests
    again = {"input.reuse": [str(tmp_path / "first")], "routing.threshold": 0.6}
    assert run(tmp_path, server, "second", again, watch=at_once).exit_code(0.0) == 130
    assert run(tmp_path, server, "second", again).complete
    asked = [row["attempts"] for row in results(tmp_path / "second")]
    assert server.stats().requests - before == sum(asked) < ROWS
    assert len(asked) == ROWS


def test_a_failed_rows_cost_is_kept_when_another_run_has_its_answer(
    tmp_path: Path, server: ThreadedSimulator
) -> None:
    changes: dict[str, Any] = {f"endpoints.{side}.max_attempts": 1 for side in ("strong", "weak")}
    lines(tmp_path / "prompts.jsonl", *prompts(ROWS))
    run(tmp_path, server, "other")
    lines(tmp_path / "prompts.jsonl", *prompts()[:3])
    run(tmp_path, server, "same")
    (tmp_path / "other").rename(tmp_path / "earlier")
    changes["input.reuse"] = [str(tmp_path / "earlier")]
    server.control({"faults": {"no_choices": 1.0}})  # such an answer brings its usage
    assert run(tmp_path, server, "second", changes).failed == 3
    spent = json.loads((tmp_path / "second/failed.jsonl").read_text().splitlines()[0])
    (tmp_path / "earlier").rename(tmp_path / "other")
    (tmp_path / "same").rename(tmp_path / "earlier")
    assert run(tmp_path, server, "second", changes).complete
    row = results(tmp_path / "second")[0]
    assert spent["cost_usd"] > 0
    assert (row["status"], row["attempts"], row["cost_usd"]) == ("ok", spent["attempts"], spent["cost_usd"])


def test_of_equal_requests_the_first_runs_answer_counts(tmp_path: Path, server: ThreadedSimulator) -> None:
    lines(tmp_path / "prompts.jsonl", *prompts())
    run(tmp_path, server, "monday")
    server.control({"response_tokens": 20})
    run(tmp_path, server, "tuesday")
    monday, tuesday = (results(tmp_path / night, "row", "response") for night in ("monday", "tuesday"))
    assert monday != tuesday
    for name, nights in {"first": ("monday", "tuesday"), "second": ("tuesday", "monday")}.items():
        run(tmp_path, server, name, {"input.reuse": [str(tmp_path / night) for night in nights]})
    assert results(tmp_path / "first", "row", "response") == monday
    assert results(tmp_path / "second", "row", "response") == tuesday


def test_answers_are_read_only_of_parts_that_have_a_match(tmp_path: Path, server: ThreadedSimulator) -> None:
    lines(tmp_path / "prompts.jsonl", *prompts())
    run(tmp_path, server, "monday")
    lines(tmp_path / "prompts.jsonl", *prompts(ROWS))
    run(tmp_path, server, "tuesday")
    nights = [str(tmp_path / night) for night in ("monday", "tuesday")]
    answered = answered_parts(nights, tmp_path / "second", raw=False)
    first, second = answered.parts
    with contextlib.closing(Reuse(answered, tmp_path)) as reuse:
        second.path.unlink()
        answers = reuse.answers([*reversed(first.fingerprints()), b"0" * 16])
        assert [answer and answer.completion and answer.completion.response for answer in answers] == [
            *(row["response"] for row in reversed(results(tmp_path / "monday"))),
            None,
        ]
        with pytest.raises(RunFault, match="cannot be read"):
            reuse.answers(second.fingerprints()[:1])


def test_a_run_that_cannot_be_taken_over_is_named(tmp_path: Path, server: ThreadedSimulator) -> None:
    lines(tmp_path / "prompts.jsonl", *prompts())
    run(tmp_path, server, "first")
    paid = server.stats().requests

    def refused(words: str, **changes: Any) -> None:
        with pytest.raises(RunFault, match=words):
            run(tmp_path, server, "second", {"input.reuse": [str(tmp_path / "first")], **changes})

    refused("not a run directory", **{"input.reuse": [str(tmp_path / "none")]})
    refused("own output.path", **{"input.reuse": [str(tmp_path / "second")]})
    refused("no whole answers", **{"output.raw": True})
    strange = write_run(tmp_path / "strange", [[ok(0)]])
    (strange / "job.toml").write_text("[batchroute]\n")
    refused("not as a run wrote it", **{"input.reuse": [str(strange)]})
    fingerprints = fingerprints_of(tmp_path / "first/results/part-00000.parquet")
    pq.write_table(pa.table({"fingerprint": [b"0" * 16]}), fingerprints)
    refused("does not fit")
    fingerprints.unlink()
    refused("cannot be read")
    assert server.stats().requests == paid
