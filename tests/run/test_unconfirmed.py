"""What a run without a limit sent and never heard the price of."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from batchroute.job.prices import find_pricing
from batchroute.run.engine import run_job
from batchroute.run.options import RunOptions
from batchroute.run.unconfirmed import Unconfirmed
from batchroute.send.classify import Answer
from batchroute.send.request import Request
from batchroute.types import Completion, Prompt, Usage
from inputs import lines
from jobs import job_of, on_both

if TYPE_CHECKING:
    from pathlib import Path

    from servers import ThreadedSimulator


def report_of(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "run" / "report.json").read_text())
    return report


def run_with(folder: Path, server: ThreadedSimulator, changes: dict[str, Any]) -> dict[str, Any]:
    """The report of a run of one row, which the server answers only in part the first time."""
    lines(folder / "prompts.jsonl", {"prompt": f"[[fault:truncated:1]] {folder.name}"})
    ours = {**on_both("base_url", server.url), **on_both("params", {"max_tokens": 50}), **changes}
    run_job(job_of(folder / "prompts.jsonl", folder / "run", ours), RunOptions(environ={}))
    return report_of(folder)


def test_an_attempt_without_usage_is_the_same_money_with_a_limit_and_without(
    tmp_path: Path, server: ThreadedSimulator
) -> None:
    limited, free = (tmp_path / name for name in ("one", "two"))
    for folder in (limited, free):
        folder.mkdir()
    with_limit = run_with(limited, server, {"limits.max_cost_usd": 1.0})
    without = run_with(free, server, {})
    assert (with_limit["ok"], without["ok"], without["attempts"]) == (1, 1, 2)
    assert without["unconfirmed_usd"] == with_limit["unconfirmed_usd"] > 0
    assert run_with(free, server, {"limits.max_cost_usd": 1.0})["unconfirmed_usd"] == without["unconfirmed_usd"], (
        "a limit that comes later counts it"
    )


def test_a_run_that_lost_nothing_says_0(tmp_path: Path, server: ThreadedSimulator) -> None:
    lines(
        tmp_path / "prompts.jsonl", {"prompt": "hello"}, {"prompt": "[[fault:422]]"}, {"prompt": "[[fault:429:1]]"}
    )
    job = job_of(tmp_path / "prompts.jsonl", tmp_path / "run", on_both("base_url", server.url))
    run_job(job, RunOptions(environ={}))
    assert report_of(tmp_path)["unconfirmed_usd"] == 0.0
    assert not (tmp_path / "run" / "ledger.json").exists()


PRICING = find_pricing("gpt-4o-mini", None, None)
BODY = b'{"messages": [], "max_tokens": 10}'
TOLD = Usage(prompt_tokens=5, completion_tokens=1)


@pytest.mark.parametrize(
    ("answer", "body", "tokens"),
    [
        (Answer(verdict="ok", completion=Completion(usage=TOLD)), BODY, None),
        (Answer(verdict="ok", completion=Completion(usage=Usage(reported_usd=0.1))), BODY, None),
        (Answer(verdict="refused", turned_away=True), BODY, None),
        (Answer(verdict="rate_limited", turned_away=True, status=429), BODY, None),
        (Answer(verdict="transient", turned_away=True, status=408), BODY, 10),
        (Answer(verdict="transient", turned_away=True, status=424), BODY, 10),
        (Answer(verdict="transient", turned_away=True, status=499), BODY, 10),
        (Answer(verdict="transient", turned_away=True, status=408, completion=Completion(usage=TOLD)), BODY, None),
        (Answer(verdict="transient", unsent=True), BODY, None),
        (Answer(verdict="transient"), BODY, 10),
        (Answer(verdict="ok", completion=Completion(usage=Usage(completion_tokens=3))), BODY, 10),
        (Answer(verdict="ok", completion=Completion()), BODY, 10),
        (Answer(verdict="transient"), b'{"messages": []}', 2000),  # nothing bounds the answer
    ],
)
def test_what_counts_as_lost(answer: Answer, body: bytes, tokens: int | None) -> None:
    assert PRICING is not None
    lost = Unconfirmed()

    async def send(_: Request) -> Answer:
        return answer

    request = Request(Prompt("a", 0, None, b"[]"), body, 1, None, "score")
    assert asyncio.run(lost.watching(send, PRICING)(request)) is answer  # type: ignore[arg-type]
    expected = Decimal(0) if tokens is None else PRICING.most_usd(len(body), tokens)
    assert (lost.usd, lost.unpriced) == (expected, 0)
    asyncio.run(lost.watching(send, None)(request))  # type: ignore[arg-type]
    assert lost.unpriced == (tokens is not None)


def test_what_is_abandoned_in_flight_is_lost() -> None:
    lost = Unconfirmed()

    async def send(_: Request) -> Answer:
        raise asyncio.CancelledError

    async def abandoned() -> None:
        await lost.watching(send, PRICING)(Request(Prompt("a", 0, None, b"[]"), BODY, 1, None, "score"))

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(abandoned())
    assert lost.usd > 0
