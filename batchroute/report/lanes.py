"""What the lanes of a run did: as it is written down while they work, and at the end.

`status.json` is written every few seconds by the run that holds the lock; after a kill it has what was last seen.
Who holds the lock is not known here.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from batchroute.store.files import AS_UMASK_SAYS, saving, write_whole
from batchroute.types import Doing, PilotProgress  # noqa: TC001 - msgspec reads it

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from batchroute.types import LaneState

MOST_SLOTS = 240
MOST_NAMED = 3  # of a lane's addresses, in one line
FIRST_STEP_S = 1.0
_WORDS: dict[Doing, str] = {
    "sending": "sending",
    "paced": "waits for its rate",
    "tier_full": "its service tier is full",
    "no_money": "no money for the next row",
    "retrying": "waits to ask rows again",
    "waiting": "waits for rows",
    "done": "done",
}


class LaneTimeline(msgspec.Struct, frozen=True, kw_only=True):
    """How long a lane did what, in slots of `step_s` seconds from `started_at` (Unix time) on, over all runs.

    Each slot has seconds by what was done; one in which no run was at work is empty. There are `MOST_SLOTS` of
    them at most: when the time goes on, each pair becomes one slot, which is twice as long.
    """

    started_at: float
    step_s: float
    slots: list[dict[Doing, float]]

    @staticmethod
    def begun(at: float) -> LaneTimeline:
        """Nothing yet."""
        return LaneTimeline(started_at=at, step_s=FIRST_STEP_S, slots=[])


def prolonged(timeline: LaneTimeline, doing: Doing, from_at: float, to_at: float) -> LaneTimeline:
    """The timeline with one more stretch of time, in Unix seconds; what lies before its start is in slot 0.

    Worked example, slots of 1 s from 100 on: "away" from 100.5 to 102.25 adds 0.5, 1 and 0.25 s to three slots.
    """
    step_s, slots = timeline.step_s, timeline.slots
    from_s, to_s = from_at - timeline.started_at, to_at - timeline.started_at
    while to_s > MOST_SLOTS * step_s:
        step_s, slots = 2 * step_s, [_summed(slots[at : at + 2]) for at in range(0, len(slots), 2)]
    slots = [dict(slot) for slot in slots]
    while from_s < to_s:
        at = max(0, min(int(from_s / step_s), MOST_SLOTS - 1))
        until_s = to_s if at == MOST_SLOTS - 1 else min(to_s, (at + 1) * step_s)
        slots.extend({} for _ in range(at + 1 - len(slots)))
        slots[at][doing] = slots[at].get(doing, 0.0) + until_s - from_s
        from_s = until_s
    return msgspec.structs.replace(timeline, step_s=step_s, slots=slots)


def _summed(slots: list[dict[Doing, float]]) -> dict[Doing, float]:
    doings = dict.fromkeys(doing for slot in slots for doing in slot)
    return {doing: sum(slot.get(doing, 0.0) for slot in slots) for doing in doings}


class LaneReport(msgspec.Struct, frozen=True, kw_only=True):
    """One lane, as last seen: `state` in words, `last_error` also where no row has failed for it.

    Rows and money are those of the last run alone; the timeline is that of all runs of the directory. `is_beside`:
    its rows are none of the job's, but verdicts. `addresses_away` of its `addresses` do not answer.
    """

    state: str
    doing: Doing
    last_error: str | None = None
    rows: int | None = None
    ok: int = 0
    refused: int = 0
    failed: int = 0
    in_flight: int = 0
    cost_usd: float = 0.0
    is_beside: bool = False
    addresses: int = 1
    addresses_away: list[str] = []
    timeline: LaneTimeline | None = None


class RunStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A run at work, `updated_at` (Unix time); `done` of the directory's `rows` have ended.

    `spent_usd` is what is known of the bill of the whole directory, which `max_cost_usd` limits; `wall_s` is the
    time that all its runs were at work, those too that were killed, to the last word of each. `pilot` is None but
    while the pilot is at work.
    """

    updated_at: float
    rows: int | None
    done: int
    spent_usd: float | None = None
    max_cost_usd: float | None = None
    wall_s: float = 0.0
    pilot: PilotProgress | None = None
    lanes: dict[str, LaneReport]


def lane_words(state: LaneState, now: datetime) -> str:
    """A state as people read it, `now` being the local time.

    `away: connection refused (127.0.0.1:7999), next try in 8 s, gives up at 08:41`
    `sending, 2 of 3 addresses away (gpu1:8000, gpu2:8000)`
    """
    wait = "" if state.next_try_s is None else f"{max(1, round(state.next_try_s))} s"
    away = f"{len(state.away)} of {state.addresses} addresses away ({few_words(state.away)})" if state.away else ""
    if state.doing == "rate_limited":
        return _joined("paused by 429", wait, away)
    if state.doing == "away":
        next_try = wait and f"next try in {wait}"
        end = None if state.gives_up_s is None else now + timedelta(seconds=state.gives_up_s)
        gives_up = "" if end is None else f"gives up at {end:%H:%M}"
        return f"away: {_joined(away, state.reason, next_try, gives_up)}"
    if state.doing == "stopped":
        return f"stopped: {state.reason}" if state.reason else "stopped"
    return _joined(_WORDS[state.doing], away)


def _joined(*phrases: str) -> str:
    return ", ".join(filter(None, phrases))


def few_words(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = len(names) - MOST_NAMED
    return ", ".join(names) if more < 1 else f"{', '.join(names[:MOST_NAMED])} and {more:,} more"


def status_in(file: Path) -> RunStatus | None:
    """What the last process wrote that had this file; None where none did, or where it cannot be read.

    Nothing depends on it, and the next run replaces it.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=RunStatus)
    except (OSError, ValueError):
        return None


def write_status(file: Path, status: RunStatus) -> None:
    """Puts a status.json in place, whole or not at all."""
    with saving(file.parent):
        write_whole(file, msgspec.json.encode(status), mode=AS_UMASK_SAYS)
