"""What a lane does, as one value: a decision on what the lane and its gate know."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchroute.send.classify import shortened
from batchroute.types import LaneState

if TYPE_CHECKING:
    from batchroute.types import StopReason

_REASON_CHARS = 100


def lane_state(
    stop: StopReason | None,
    held: LaneState | None,
    *,
    stopping: bool,
    done: bool,
    in_flight: int,
    is_open: bool,
    where: str,
) -> LaneState:
    """Of a lane that stops for the reason `stop`, or is `stopping` as it was told to, or is `done`, or neither.

    `held` is what the request at the head of its queue waits for; `is_open`: it has requests that are not settled.
    `where` is the endpoint as host:port, which an endpoint that is away is named by.
    """
    if stop is not None:
        return LaneState(stop.doing, stop.cause if stop.doing == "stopped" else "")
    if done:
        return LaneState("done")
    if stopping:
        return LaneState("stopped")
    if held is not None:
        return replace(held, reason=_named(held.reason, where)) if held.doing == "away" else held
    if in_flight:
        return LaneState("sending")
    return LaneState("retrying" if is_open else "waiting")


def _named(error: str, where: str) -> str:
    """An error and the endpoint that it is of; an error of the connection names where there was none."""
    reason = shortened(error, _REASON_CHARS)
    return reason if not where or where in reason else f"{reason} ({where})"
