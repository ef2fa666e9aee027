"""What a lane does, as one value: a decision on what the lane and its gate know."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchroute.send.classify import shortened
from batchroute.types import LaneState

if TYPE_CHECKING:
    from batchroute.types import Doing, StopReason

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
    away: tuple[str, ...] = (),
    addresses: int = 1,
) -> LaneState:
    """Of a lane that stops for the reason `stop`, or is `stopping` as it was told to, or is `done`, or neither.

    `held` is what the request at the head of its queue waits for; `is_open`: it has requests that are not settled.
    `where` is the endpoint as host:port, which an endpoint that is away is named by; where it has several
    `addresses`, those that are `away` are.
    """
    if stop is not None:
        return LaneState(stop.doing, stop.cause if stop.doing == "stopped" else "")
    if done:
        return LaneState("done")
    if stopping:
        return LaneState("stopped")
    doing: Doing = "sending" if in_flight else "retrying" if is_open else "waiting"
    state = LaneState(doing) if held is None else held
    reason = _named(state.reason, where) if state.doing == "away" else state.reason
    return replace(state, reason=reason, away=away, addresses=addresses)


def address_state(given_up: StopReason | None, error: str, badly: str, *, is_open: bool) -> LaneState:
    """Of one of several addresses, which went away with this error, or is back; `badly`: what it answers then."""
    if not is_open:
        return LaneState("sending", badly)
    if given_up is not None:
        return LaneState("stopped", str(given_up))
    return LaneState("away", shortened(error, _REASON_CHARS))


def _named(error: str, where: str) -> str:
    """An error and the endpoint that it is of; an error of the connection names where there was none."""
    reason = shortened(error, _REASON_CHARS)
    return reason if not where or where in reason else f"{reason} ({where})"
