"""What a run does, whichever processes work on it: the status of the one that has it to itself, or of all shares.

Processes that divide the shards of a run write a status each, of their own shards; here they are added up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from batchroute.report.lanes import LaneReport, LaneTimeline, RunStatus, prolonged, status_in
from batchroute.store.layout import RunLayout
from batchroute.store.lock import file_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from batchroute.store.lock import LockState
    from batchroute.types import Doing

Number = TypeVar("Number", int, float)

# What is said of a lane that does several things on several processes: the first of these, and on how many.
_MOST_TELLING: tuple[Doing, ...] = (
    "sending",
    "rate_limited",
    "paced",
    "tier_full",
    "away",
    "no_money",
    "retrying",
    "stopped",
    "waiting",
    "done",
)


def read_status(run: Path) -> RunStatus | None:
    """What the last run in the directory wrote; None where none did. See `status_in`."""
    layout = RunLayout(run)
    alone = status_in(layout.status)
    written = [(share, status_in(share.status)) for share in layout.shares()]
    known = [(share, status) for share, status in written if status is not None]
    if not known:
        return alone
    latest, status = max(known, key=lambda each: each[1].updated_at)
    if alone is not None and alone.updated_at > status.updated_at:
        return alone
    ours = [(status, file_state(share.lock)) for share, status in known if share.of == latest.of]
    # One that was killed is over where another one worked on; of a run that was killed the last word stands.
    goes_on = any(state.held or state.holder is None for _, state in ours)
    told = [_over(status) if goes_on and _is_killed(state) else status for status, state in ours]
    return together(told, latest.of)


def _is_killed(state: LockState) -> bool:
    return state.held is False and state.holder is not None


def together(statuses: Sequence[RunStatus], of: int) -> RunStatus:
    """The statuses of some of `of` processes as one; how many rows there are is known once all have said it."""
    rows = _sum(each.rows for each in statuses)
    names = dict.fromkeys(name for each in statuses for name in each.lanes)
    return RunStatus(
        updated_at=max(each.updated_at for each in statuses),
        rows=rows if len(statuses) == of else None,
        done=sum(each.done for each in statuses),
        spent_usd=_sum(each.spent_usd for each in statuses),
        max_cost_usd=statuses[0].max_cost_usd,
        wall_s=max(each.wall_s for each in statuses),
        lanes={name: _lane([each.lanes[name] for each in statuses if name in each.lanes]) for name in names},
    )


def _over(status: RunStatus) -> RunStatus:
    """Of a process that was killed while others worked: nothing of it is in flight any more."""
    lanes = {
        name: msgspec.structs.replace(lane, in_flight=0)
        if lane.doing == "stopped"
        else msgspec.structs.replace(lane, in_flight=0, doing="done", state="done")
        for name, lane in status.lanes.items()
    }
    return msgspec.structs.replace(status, lanes=lanes)


def _lane(lanes: Sequence[LaneReport]) -> LaneReport:
    """One lane, over all processes that have it."""
    telling = min(lanes, key=lambda lane: _MOST_TELLING.index(lane.doing))
    same = sum(lane.doing == telling.doing for lane in lanes)
    errors = [lane.last_error for lane in lanes if lane.last_error is not None]
    return LaneReport(
        state=telling.state if same == len(lanes) else f"{telling.state} on {same} of {len(lanes)} processes",
        doing=telling.doing,
        last_error=telling.last_error or (errors[0] if errors else None),
        rows=_sum(lane.rows for lane in lanes),
        ok=sum(lane.ok for lane in lanes),
        refused=sum(lane.refused for lane in lanes),
        failed=sum(lane.failed for lane in lanes),
        in_flight=sum(lane.in_flight for lane in lanes),
        cost_usd=sum(lane.cost_usd for lane in lanes),
        is_beside=telling.is_beside,
        addresses=max(lane.addresses for lane in lanes),
        addresses_away=list(dict.fromkeys(where for lane in lanes for where in lane.addresses_away)),
        timeline=_timeline([lane.timeline for lane in lanes if lane.timeline is not None]),
    )


def _timeline(timelines: Sequence[LaneTimeline]) -> LaneTimeline | None:
    """One over all of them; a second in which two of four processes send is half a second of sending.

    A slot is put where it was, as one stretch of time for each thing that was done in it.
    """
    if not timelines:
        return None
    merged = LaneTimeline.begun(min(each.started_at for each in timelines))
    for each in timelines:
        for number, slot in enumerate(each.slots):
            at = each.started_at + number * each.step_s
            for doing, seconds in slot.items():
                merged = prolonged(merged, doing, at, at + seconds)
                at += seconds
    count = len(timelines)
    slots = [{doing: seconds / count for doing, seconds in slot.items()} for slot in merged.slots]
    return msgspec.structs.replace(merged, slots=slots)


def _sum(values: Iterable[Number | None]) -> Number | None:
    """None where one is unknown."""
    total: Number | None = None
    for value in values:
        if value is None:
            return None
        total = value if total is None else total + value
    return total
