"""A service tier that is full, over the network: waited for, or left for the standard one, within the budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from batchroute.run.engine import run_job
from jobs import job_of
from test_engine import OPTIONS, results, write_input
from upstream import completion, upstream

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.job.spec import Job

ROWS = 20
FULL = [
    (498, {"message": "at capacity, try again later", "type": "capacity_exceeded"}),
    (429, {"message": "the tier is full", "type": "invalid_request_error", "code": "resource_unavailable"}),
]
PRICE = {"input": 2.0, "output": 20.0, "tiers": {"flex": {"input": 1.0, "output": 10.0}}}


def job(folder: Path, url: str, **settings: Any) -> Job:
    write_input(folder, ROWS)
    weak = {"model": "m", "base_url": url, "service_tier": "flex", "price": PRICE, "max_attempts": 1, **settings}
    limit = {"limits.max_cost_usd": 1} if "params" in settings else {}
    bound = {"endpoints.strong.params": {"max_tokens": 100}}
    changes = {"endpoints.weak": weak, "routing.threshold": 1.0, **bound, **limit}
    return job_of(folder / "prompts.jsonl", folder / "run", changes)


@pytest.mark.parametrize(("status", "error"), FULL, ids=["groq", "openai"])
def test_a_full_tier_is_waited_for(tmp_path: Path, status: int, error: dict[str, Any]) -> None:
    asked: set[str] = set()

    async def say(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        text = str(body["messages"])
        if text in asked:
            return web.json_response(completion())
        asked.add(text)
        return web.json_response({"error": error}, status=status, headers={"retry-after": "0.1"})

    with upstream(say) as server:
        end = run_job(job(tmp_path, server.url), OPTIONS)
    assert (end.ok, end.failed) == (ROWS, 0)
    assert {body["service_tier"] for body in server.bodies()} == {"flex"}
    assert {row["attempts"] for row in results(tmp_path)} == {2}


@pytest.mark.parametrize("named", [True, False])
def test_the_standard_tier_is_billed_as_itself_and_held_for_by_the_budget(tmp_path: Path, named: bool) -> None:
    """An answer that names no tier was asked for at the standard one the second time."""

    async def say(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        if "service_tier" in body:
            return web.json_response({"error": FULL[0][1]}, status=498)
        tier = {"service_tier": "default"} if named else {}
        return web.json_response({**completion(), **tier})

    with upstream(say) as server:
        end = run_job(job(tmp_path, server.url, on_busy="standard", params={"max_tokens": 100}), OPTIONS)
    assert (end.ok, end.failed) == (ROWS, 0)
    assert len(server.seen) == 2 * ROWS
    usage = completion()["usage"]
    cost_usd = (usage["prompt_tokens"] * 2 + usage["completion_tokens"] * 20) / 1e6
    assert [row["cost_usd"] for row in results(tmp_path)] == pytest.approx([cost_usd] * ROWS)
