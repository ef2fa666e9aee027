"""Deadlines on a virtual clock: what takes too long is cancelled when its time is over, and nothing else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.send.deadline import Deadlines
from virtual_time import run_virtually

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMEOUT_S = 10.0


async def exchange(deadlines: Deadlines, begins_s: float, takes_s: float) -> tuple[str, float]:
    """How an exchange ended, and after how long."""
    await asyncio.sleep(begins_s)
    task = asyncio.current_task()
    assert task is not None
    began = asyncio.get_running_loop().time()
    deadlines.begin(task)
    try:
        await asyncio.sleep(takes_s)
    except asyncio.CancelledError:
        end = "too late" if deadlines.end(task) else "cancelled"
    else:
        end = "cancelled" if deadlines.end(task) else "in time"
    return end, asyncio.get_running_loop().time() - began


async def all_of(exchanges: Sequence[tuple[float, float]]) -> list[tuple[str, float]]:
    deadlines = Deadlines(TIMEOUT_S)
    return await asyncio.gather(*(exchange(deadlines, *times) for times in exchanges))


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 9) | st.floats(11, 50)), min_size=1, max_size=20))
def test_each_exchange_has_its_own_time(exchanges: list[tuple[float, float]]) -> None:
    for (end, took_s), (_, takes_s) in zip(run_virtually(all_of(exchanges)), exchanges, strict=True):
        assert end == ("in time" if takes_s < TIMEOUT_S else "too late")
        assert took_s == pytest.approx(min(takes_s, TIMEOUT_S), abs=0.01)


async def cancelled_by_another() -> tuple[str, float]:
    deadlines = Deadlines(TIMEOUT_S)
    task = asyncio.create_task(exchange(deadlines, 0.0, 100.0))
    await asyncio.sleep(3.0)
    task.cancel()
    return await task


def test_a_cancellation_by_somebody_else_is_none_of_ours() -> None:
    assert run_virtually(cancelled_by_another()) == ("cancelled", pytest.approx(3.0, abs=0.01))
