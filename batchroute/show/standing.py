"""How runs stand, as lines: one for a run, and below it one for each of its lanes."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from batchroute.show.run_words import pilot_words
from batchroute.show.summary import rows_words, spent_words
from batchroute.show.words import count, one_line, percent
from batchroute.store.lock import Holder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchroute.report.standing import Standing

_ERROR_CHARS = 100
_OLD_S = 15.0


def standing_line(standing: Standing) -> str:
    """The run, its state, how far it is, and why it is not complete, in one line."""
    facts = [rows_words(standing.done, standing.rows, standing.refused, standing.failed)]
    if standing.state == "running" and standing.share is not None:
        facts.append(percent(standing.share))
    if standing.pilot is not None:
        facts.append(pilot_words(standing.pilot))
    if standing.spent_usd is not None:
        facts.append(spent_words(standing.spent_usd, standing.max_cost_usd))
    holder = _holder(standing) if standing.state == "running" else None
    others = (standing.processes or 1) - 1
    more = f" and {count(others)} more" if others else ""
    whose = "" if holder is None else f" ({holder.words()}{more})"
    why = f": {'; '.join(one_line(each) for each in standing.why)}" if standing.why else ""
    known = ", ".join(filter(None, facts))
    return f"{standing.run}  {standing.state}{whose}{known and '  '}{known}{why}"


def standing_lines(standing: Standing, now: datetime) -> Iterator[str]:
    """The same, and what each lane does, or did last."""
    yield standing_line(standing)
    width = max(map(len, standing.lanes), default=0)
    for name, lane in standing.lanes.items():
        error = "" if lane.last_error is None else f"; last error: {one_line(lane.last_error)[:_ERROR_CHARS]}"
        in_flight = f", {count(lane.in_flight)} in flight" if standing.state == "running" else ""
        yield f"  {name:<{width}}  {one_line(lane.state)}{in_flight}{error}"
    if standing.as_of is not None and (standing.state != "running" or now.timestamp() - standing.as_of > _OLD_S):
        yield f"  as it was at {datetime.fromtimestamp(standing.as_of).astimezone():%Y-%m-%d %H:%M:%S}"


def _holder(standing: Standing) -> Holder | None:
    if standing.pid is None or standing.host is None or standing.since is None:
        return None
    return Holder(standing.pid, one_line(standing.host), standing.since)
