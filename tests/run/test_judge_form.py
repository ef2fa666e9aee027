"""A judge's server that knows the form of our verdicts, and those that do not: each says so in its own way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from batchroute.run.engine import run_job
from batchroute.run.options import RunOptions
from inputs import lines
from jobs import job_of, judged, simulated
from upstream import completion, upstream

if TYPE_CHECKING:
    from pathlib import Path

    from upstream import Say

# What the OpenAI-compatible server of llama-cpp-python 0.3 answers to a form that it does not know.
PYDANTIC = (
    "1 validation error:\n  {'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), 'msg': "
    "\"Input should be 'text' or 'json_object'\", 'input': 'json_schema'}"
)
INTERNAL = {"error": {"message": PYDANTIC, "type": "internal_server_error", "param": None, "code": None}}
TOO_LONG = {"error": {"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded"}}
UNAVAILABLE = {
    "error": {"message": "This response_format type is unavailable now", "type": "invalid_request_error"}
}


ROWS = 20


def judged_by(say: Say, judge: str, folder: Path) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """What a judge was asked over a job all of whose rows are its pilot, and how many of these were left out."""
    lines(folder / "prompts.jsonl", *({"prompt": f"What is {row} + 1?"} for row in range(ROWS)))
    with upstream(say) as server:
        changes = {**simulated(latency_s=0), **judged(judge, base_url=server.url), "pilot.rows": ROWS}
        end = run_job(job_of(folder / "prompts.jsonl", folder / "run", changes), RunOptions(environ={}))
        asked = server.bodies()
    assert end.ok == ROWS
    return asked, json.loads((folder / "run" / "pilot" / "pilot.json").read_text())["left_out"]


@pytest.mark.parametrize(("status", "body"), [(400, UNAVAILABLE), (422, {"detail": "nonsense"}), (500, INTERNAL)])
@pytest.mark.parametrize("judge", ["rubric", "pairwise"])
def test_a_form_that_a_server_does_not_know_is_left_out(
    tmp_path: Path, judge: str, status: int, body: dict[str, Any]
) -> None:
    async def say(_request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
        if "response_format" in asked:
            return web.json_response(body, status=status)
        return web.json_response(completion("[[7]]" if judge == "rubric" else "[[A]]"))

    asked, left_out = judged_by(say, judge, tmp_path)
    assert sum("response_format" in each for each in asked) == 1
    assert len(asked) == 1 + 2 * ROWS
    assert not any(left_out.values())


def test_a_conversation_too_long_for_the_judge_says_nothing_of_the_form(tmp_path: Path) -> None:
    async def say(_request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
        if "What is 7" in asked["messages"][-1]["content"]:
            return web.json_response(TOO_LONG, status=400)
        return web.json_response(completion('{"reason": "", "points": 7}'))

    asked, left_out = judged_by(say, "rubric", tmp_path)
    assert all("response_format" in each for each in asked)
    assert left_out["judge_unreadable"] == 1
