"""A judge's server that knows the form of our verdicts, and those that do not: each says so in its own way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from batchroute.run.engine import RunOptions, run_job
from inputs import lines
from jobs import job_of, judged, simulated
from upstream import completion, upstream

if TYPE_CHECKING:
    from pathlib import Path

# What the OpenAI-compatible server of llama-cpp-python 0.3 answers to a form that it does not know.
PYDANTIC = (
    "1 validation error:\n  {'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), 'msg': "
    "\"Input should be 'text' or 'json_object'\", 'input': 'json_schema'}"
)
INTERNAL = {"error": {"message": PYDANTIC, "type": "internal_server_error", "param": None, "code": None}}
UNAVAILABLE = {
    "error": {"message": "This response_format type is unavailable now", "type": "invalid_request_error"}
}


@pytest.mark.parametrize(("status", "body"), [(400, UNAVAILABLE), (422, {"detail": "nonsense"}), (500, INTERNAL)])
@pytest.mark.parametrize("judge", ["rubric", "pairwise"])
def test_a_form_that_a_server_does_not_know_is_left_out(
    tmp_path: Path, judge: str, status: int, body: dict[str, Any]
) -> None:
    async def say(_request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
        if "response_format" in asked:
            return web.json_response(body, status=status)
        return web.json_response(completion("[[7]]" if judge == "rubric" else "[[A]]"))

    lines(tmp_path / "prompts.jsonl", *({"prompt": f"What is {row} + 1?"} for row in range(30)))
    with upstream(say) as server:
        changes = {**simulated(latency_s=0), **judged(judge, base_url=server.url), "pilot.rows": 20}
        end = run_job(job_of(tmp_path / "prompts.jsonl", tmp_path / "run", changes), RunOptions(environ={}))
        asked = server.bodies()
    assert end.ok == 30
    assert sum("response_format" in each for each in asked) == 1
    assert len(asked) == 1 + 2 * 20
    assert json.loads((tmp_path / "run" / "pilot" / "pilot.json").read_text())["left_out"] == {}
