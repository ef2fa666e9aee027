"""What `show` shows is what a run sends, to the byte; and nothing of it leaves this machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

import jobs
from batchroute.job.load import load_job
from batchroute.run.preview import SIMULATED, preview_job
from command import assert_one_message
from inputs import lines
from upstream import upstream

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batchroute.run.preview import Preview
    from command import Said

    Command = Callable[..., Said]

KEY = "sk-canary-Vb73kQpL0x"
ROWS = [
    {"prompt": "Hi", "id": "short"},
    {"prompt": "Why? " * 200, "id": "long"},
    {"prompt": None, "id": "null"},
    {"prompt": "Forced", "id": "forced", "route": "strong"},
    {"prompt": "Bell \x07\x1b[2J\x9b1m ü \u202e", "id": "a\x1b[31m"},
]
OPEN: dict[str, Any] = {"routing.threshold": None, "routing.strong_fraction": 0.5}


def job_file(folder: Path, *changes: dict[str, Any]) -> Path:
    lines(folder / "prompts.jsonl", *ROWS)
    ours = {"input.id": "id", "input.route": "route", **jobs.on_both("api_key_env", "CANARY_KEY")}
    ours |= jobs.on_both("params", {"max_tokens": 9, "temperature": 0.5})
    return jobs.write_job(folder, ours, *changes)


async def refuse(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
    return web.json_response({"error": {"message": "no"}}, status=400)


def preview(path: Path, rows: int = 10) -> Preview:
    return preview_job(load_job(path, environ={}), rows)


@pytest.mark.parametrize("api", ["chat", "responses", "anthropic"])
@pytest.mark.parametrize("limits", [{}, {"limits.max_cost_usd": 5.0}])
def test_the_bodies_are_those_that_a_run_sends(
    tmp_path: Path, batchroute: Command, monkeypatch: pytest.MonkeyPatch, api: str, limits: dict[str, Any]
) -> None:
    monkeypatch.setenv("CANARY_KEY", KEY)
    bound = {"max_output_tokens": 9} if api == "responses" else {"max_tokens": 9}
    with upstream(refuse) as provider:
        changes = {**jobs.on_both("api", api), **jobs.on_both("base_url", provider.url), **limits}
        path = job_file(tmp_path, changes, jobs.on_both("params", bound), jobs.on_both("price", dict(jobs.PRICE)))
        shown = preview(path)
        assert not provider.seen
        assert batchroute("run", path, "--quiet", "--set", "limits.stop_after_same_refusal=0").code == 3
        sent = sorted(body for _, body in provider.seen)
        headers = [{name.lower() for name in headers} for headers, _ in provider.seen]
    requests = [request for row in shown.rows for request in row.requests]
    assert sorted(bytes(request.body) for request in requests) == sent
    assert len(sent) == 4
    assert all({name.lower() for name in request.headers} <= headers[0] for request in requests)
    assert all(request.most_usd is not None and request.most_usd > 0 for request in requests)


def test_each_row_says_where_it_goes_and_why(tmp_path: Path) -> None:
    shown = preview(job_file(tmp_path))
    assert [(row.id, row.route, row.route_reason) for row in shown.rows[:4]] == [
        ("short", "weak", "score"),
        ("long", "strong", "score"),
        ("null", "weak", "score"),
        ("forced", "strong", "override"),
    ]
    assert [row.refusal is None for row in shown.rows] == [True, True, False, True, True]
    assert "line 3" in str(shown.rows[2].refusal)
    assert shown.rows[2].requests == []
    assert [row.row for row in preview(job_file(tmp_path), 2).rows] == [0, 1]


def test_a_share_leaves_the_sides_open_until_its_threshold_is_known(tmp_path: Path, batchroute: Command) -> None:
    path = job_file(tmp_path, OPEN)
    shown = preview(path)
    assert shown.threshold is None
    assert [row.route for row in shown.rows] == [None, None, "weak", "strong", None]
    assert [request.model for request in shown.rows[0].requests] == ["gpt-6.1-sol", "gpt-6-luna"]
    assert shown.rows[0].score is not None
    assert not (tmp_path / "run").exists()
    assert batchroute("plan", path, "--quiet").code == 0
    planned = preview(path)
    assert planned.threshold is not None
    assert {row.route for row in planned.rows} == {"strong", "weak"}
    other = job_file(tmp_path, OPEN, {"routing.strong_fraction": 0.1})
    assert preview(other).threshold is None, "the threshold of another share is not this job's"
    assert preview(job_file(tmp_path, OPEN, {"router.use": "random"})).threshold is None


def test_an_embedder_that_would_be_asked_is_not(tmp_path: Path) -> None:
    with upstream(refuse) as provider:
        embedder = {"use": "openai", "base_url": provider.url, "model": "text-embedding-3-small"}
        path = job_file(tmp_path, {"router": {"use": "mf", "model": "builtin", "embedder": embedder}})
        shown = preview(path)
        assert not provider.seen
    assert [row.score for row in shown.rows] == [None] * 5
    assert shown.rows[0].route is None


def test_a_row_that_a_run_would_refuse_for_the_budget_says_so(tmp_path: Path) -> None:
    ours = {"limits.max_cost_usd": 5.0, "input.params": "params"}
    path = job_file(tmp_path, ours, jobs.on_both("params", {}), jobs.on_both("price", dict(jobs.PRICE)))
    lines(
        tmp_path / "prompts.jsonl",
        {"prompt": "Hi", "params": {}},
        {"prompt": "Hi", "params": {"max_tokens": 5}, "route": None, "id": 1},
    )
    bare, bound = preview(path).rows
    assert "nothing bounds its output" in str(bare.refusal)
    assert bound.refusal is None
    free = job_file(tmp_path, jobs.on_both("params", {}), jobs.on_both("price", dict(jobs.PRICE)))
    assert preview(free).rows[0].requests[0].most_usd is None, "without a budget it is sent, at an unknown price"


def test_on_a_terminal_nothing_of_the_data_is_obeyed_and_no_key_shown(
    tmp_path: Path, batchroute: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY_KEY", KEY)
    secret = {"x-team": "team-secret-81", "x-token": {"env": "CANARY_KEY"}}
    address = jobs.on_both("base_url", "https://api.example.com/v1?token=query-secret-44")
    path = job_file(tmp_path, address, jobs.on_both("headers", secret))
    for said in (batchroute("show", path, "--rows", 9), batchroute("show", path, "--rows", 9, "--json")):
        assert said.code == 0, said.err
        assert not any((ord(char) < 32 and char != "\n") or 127 <= ord(char) < 160 for char in said.out)
        for word in (KEY, "team-secret-81", "query-secret-44"):
            assert word not in said.out + said.err
        assert "x-token" in said.out
        assert "https://api.example.com/v1/chat/completions?token=***" in said.out
    assert [row["row"] for row in json.loads(said.out)["rows"]] == [0, 1, 2, 3, 4]


def test_a_long_body_is_cut_for_people_only(tmp_path: Path, batchroute: Command) -> None:
    path = job_file(tmp_path)
    lines(tmp_path / "prompts.jsonl", {"prompt": "x" * 9000, "id": 1, "route": None})
    said = batchroute("show", path)
    assert "characters: see --json" in said.out
    assert len(said.out) < 5000
    [row] = json.loads(batchroute("show", path, "--json").out)["rows"]
    assert row["requests"][0]["body"]["messages"][0]["content"] == "x" * 9000


def test_without_keys_and_for_simulated_sides(tmp_path: Path, batchroute: Command) -> None:
    assert batchroute("show", job_file(tmp_path)).code == 0
    path = job_file(tmp_path, jobs.simulated(), jobs.on_both("api_key_env", None))
    assert {request.url for row in preview(path).rows for request in row.requests} == {SIMULATED}


def test_what_a_run_would_refuse_is_refused(tmp_path: Path, batchroute: Command) -> None:
    path = job_file(tmp_path, {"input.prompt": "promt"})
    assert_one_message(batchroute("show", path), 2, "did you mean 'prompt'")


def test_where_a_pilot_decides_it_says_when_the_threshold_is_known(tmp_path: Path, batchroute: Command) -> None:
    lines(tmp_path / "prompts.jsonl", *({"prompt": f"question {row}", "answer": "7"} for row in range(5)))
    quality = {"routing": {"quality": 0.9}, "pilot": {"judge": "reference", "reference": "answer"}}
    said = batchroute("show", jobs.write_job(tmp_path, quality))
    assert said.code == 0
    assert "strong or weak, as the threshold will be" in said.out
    assert "the threshold is known when the job's pilot has been asked, as `pilot` and `run` do" in said.err
