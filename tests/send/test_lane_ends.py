"""What a lane holds for its requests, slots and money, comes back whatever becomes of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from test_lane import LIMITED, LIMITS, MALFORMED, TRANSIENT, Bench, spending_of

if TYPE_CHECKING:
    from batchroute.send.classify import Answer


async def stop_soon(bench: Bench) -> None:
    await asyncio.sleep(0.5)
    bench.lane.stop()


@pytest.mark.parametrize("excuse", [True, False])
@pytest.mark.parametrize("answer", [MALFORMED, TRANSIENT, LIMITED])
def test_a_last_attempt_that_fails_while_the_lane_stops_holds_nothing(answer: Answer, excuse: bool) -> None:
    spending = spending_of(100)
    limits = replace(LIMITS, max_attempts=1, excuse_outages=excuse)
    bench = Bench(lambda row, attempt: answer, limits, spending=spending).run(4, stop_soon)
    assert (bench.settled, sorted(bench.left)) == ({}, [0, 1, 2, 3])
    assert (bench.allowance.in_flight, spending.budget.reserved) == (0, 0)
    assert spending.budget.spent == (12 if answer is MALFORMED else 0)
