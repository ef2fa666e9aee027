"""A run at work in words: the phrases that its display and its plain lines have in common.

Each is short and stands for itself; where it stands is decided there. Knows no screens.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from batchroute.show.words import clock, count, money, of_limit, percent, plain, speed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchroute.run.progress import LaneProgress, Progress
    from batchroute.show.speed import LaneSpeed, Speed
    from batchroute.types import PilotProgress, PilotStage

_MOST_ERRORS = 4
_STAGES: dict[PilotStage, str] = {
    "asking": "the pilot asks both sides",
    "judging": "the pilot's answers are judged",
    "deciding": "the pilot finds the share that goes strong",
}
_COUNTED: dict[PilotStage, str] = {"asking": "answers", "judging": "verdicts"}


def whole_percent(done: int, rows: int) -> str:
    """Of all rows, rounded down: 100 % says that nothing is left."""
    return f"{math.floor(100 * done / rows)} %" if rows else "100 %"


def rows_words(progress: Progress) -> str:
    """How far the whole is; while rows are still scored, how many of these."""
    if progress.rows is None:
        return f"{count(progress.scored())} rows scored"
    return f"{count(progress.done)} of {count(progress.rows)} rows"


def pilot_rows_words(pilot: PilotProgress) -> str:
    """As "312 of 800 answers", or verdicts."""
    counted = _COUNTED.get(pilot.stage)
    return "deciding" if counted is None else f"{count(pilot.done)} of {count(pilot.wanted)} {counted}"


def pilot_words(pilot: PilotProgress) -> str:
    """The same where nothing beside it says what it is about."""
    return f"pilot: {pilot_rows_words(pilot)}"


def lane_rows_words(lane: LaneProgress) -> str:
    return count(lane.settled) if lane.rows is None else f"{count(lane.settled)} of {count(lane.rows)}"


def lane_speed_words(lane: LaneProgress, now: LaneSpeed) -> str:
    """What a judge settles are no rows."""
    return f"{now.rows_per_s:,.1f} verdicts/s" if lane.is_beside else speed(now.rows_per_s)


def speed_words(progress: Progress, now: Speed) -> str:
    """Rows a second: of the scoring, as long as nothing else goes on; a pilot ends no rows."""
    if progress.pilot() is not None:
        return ""
    return speed(now.rows_per_s if progress.rows is not None or progress.settled else now.scored_per_s)


def left_words(progress: Progress, eta_s: float | None) -> str:
    """How long it still takes, or why that cannot be said."""
    left_s = progress.stops_in_s()
    if left_s is not None:
        return f"stopping: {count(progress.in_flight)} answers in flight, {math.ceil(left_s)} s left"
    pilot = progress.pilot()
    if pilot is not None:
        return _STAGES[pilot.stage]
    if progress.rows is None:
        return "scoring"
    if eta_s is not None:
        return f"about {clock(math.ceil(eta_s))} left"
    away = [name for name, lane in progress.lanes.items() if lane.left and lane.state().doing == "away"]
    return f"time left unknown while {' and '.join(away)} is away" if away else "time left not known yet"


def money_words(progress: Progress) -> Iterator[str]:
    """What the directory has cost so far, over all runs, and about what was saved."""
    now, limit_usd = progress.money(), progress.max_cost_usd
    if now.spent_usd is None:
        yield "cost unknown"
    elif limit_usd is None:
        yield f"${money(now.spent_usd)}"
    else:
        yield f"${of_limit(now.spent_usd, limit_usd)}"
    if now.unconfirmed_usd:
        yield f"${money(now.unconfirmed_usd)} unconfirmed"
    if now.saved_usd is None or not now.all_strong_usd:
        return
    if now.saved_usd >= 0:
        share = percent(now.saved_usd / now.all_strong_usd)
        yield f"saved about ${money(now.saved_usd)} ({share}) against all strong"
    else:
        yield f"about ${money(-now.saved_usd)} more than all strong"


def ended_words(progress: Progress) -> Iterator[str]:
    """What went wrong with rows, and the commonest errors."""
    refused, failed = (sum(getattr(lane, end) for lane in progress.row_lanes) for end in ("refused", "failed"))
    if refused:
        yield f"{count(refused)} refused"
    if failed:
        yield f"{count(failed)} failed"
    for name, rows in progress.errors.most_common(_MOST_ERRORS):
        yield f"{plain(name)} {count(rows)}"


def crew_words(progress: Progress) -> str:
    """As "4 workers (1 lost), 17 of 24 shards done"; nothing of a run in one process."""
    crew = progress.crew()
    if crew is None:
        return ""
    lost = f" ({count(crew.lost)} lost)" if crew.lost else ""
    workers = f"{count(crew.workers)} worker{'' if crew.workers == 1 else 's'}{lost}"
    return f"{workers}, {count(crew.shards - crew.shards_left)} of {count(crew.shards)} shards done"


def use_words(lane: LaneProgress, now: LaneSpeed) -> Iterator[str]:
    """Tokens and requests a minute, where the job limits them those of the last one."""
    if lane.tokens_per_minute is not None:
        yield f"{count(now.minute_tokens)} of {lane.tokens_per_minute:,.0f} tokens/min"
    elif lane.tokens:
        yield f"{now.tokens_per_minute:,.0f} tokens/min"
    if lane.requests_per_minute is not None:
        yield f"{count(now.minute_requests)} of {lane.requests_per_minute:,.0f} requests/min"
