"""What the lanes did and what they waited for, over time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchroute.show.page.plots import time_ticks
from batchroute.show.page.values import Plot, Row, Shape, Table, boxes
from batchroute.show.words import count, duration, one_line, percent, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batchroute.report.figures import Report
    from batchroute.report.lanes import LaneReport, LaneTimeline
    from batchroute.types import Doing

# In the order in which they are stacked; a lane that is done or has stopped draws nothing.
_DOINGS: Mapping[Doing, str] = {
    "sending": "sending",
    "rate_limited": "paused by 429",
    "paced": "sending at its own rate limit",
    "tier_full": "service tier full",
    "retrying": "rows wait for a retry",
    "waiting": "waits for rows",
    "no_money": "no money for the next row",
    "away": "endpoint away",
}
_MOST_BARS = 120
_LEAST_SHARE = 0.0005  # of what is written as 0.1 % at least
_TEXT_CHARS = 300
_QUOTED = re.compile(r"(HTTP \d{3})[:,] .*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ShownLane:
    """One lane as the page shows it."""

    name: str
    model: str
    state: str
    rows: str
    last_error: str | None
    plot: Plot | None


def lanes_of(report: Report, *, has_texts: bool) -> list[ShownLane]:
    """As they were last seen, without what providers wrote unless `has_texts`."""
    said = one_line if has_texts else without_quotes
    by_cost = sorted(report.models, key=lambda bill: bill.cost_usd or 0.0)
    models = {bill.route: bill.model for bill in by_cost}  # of several that a lane asked, the one that cost most
    if report.quality is not None:  # whose verdicts are no rows of the bill
        models |= {name: report.quality.judge_model for name, lane in report.lanes.items() if lane.is_beside}
    return [_lane(name, lane, models.get(name), said) for name, lane in report.lanes.items()]


def without_quotes(text: str) -> str:
    """Words of ours, without the provider's behind them, which may quote a row: "HTTP 422: ..." is "HTTP 422"."""
    return one_line(_QUOTED.sub(r"\1", text))


def _lane(name: str, lane: LaneReport, model: str | None, said: Callable[[str], str]) -> ShownLane:
    outcomes = [
        (lane.ok, "answered"),
        (lane.refused, "refused"),
        (lane.failed, "failed"),
        (lane.in_flight, "in flight"),
    ]
    ends = ", ".join(f"{count(rows)} {what}" for rows, what in outcomes if rows)
    return ShownLane(
        name=name,
        model=plain(model or "never sent"),
        state=_short(said(lane.state)),
        rows=f"in the last run {ends or ('no verdicts' if lane.is_beside else 'no rows')}",
        last_error=None if lane.last_error is None else _short(said(lane.last_error)),
        plot=None if lane.timeline is None or not lane.timeline.slots else _bands(name, lane.timeline),
    )


def _short(line: str) -> str:
    return line if len(line) <= _TEXT_CHARS else line[: _TEXT_CHARS - 1] + "…"


def times_table(report: Report) -> Table | None:
    """How long each lane did what; None where no run has written it down."""
    timelines = {name: lane.timeline for name, lane in report.lanes.items() if lane.timeline is not None}
    sums = {name: _seconds(timeline.slots) for name, timeline in timelines.items()}
    shown = [
        doing for doing in _DOINGS if any(_share(seconds, doing) >= _LEAST_SHARE for seconds in sums.values())
    ]
    rows = [
        Row(
            _DOINGS[doing].capitalize(),
            [_time(seconds, doing) for seconds in sums.values()],
            dot=doing,
        )
        for doing in shown
    ]
    return Table("Where the lanes' time went", ["", *sums], rows) if rows else None


def _time(seconds: Mapping[Doing, float], doing: Doing) -> str:
    share = _share(seconds, doing)
    return "0" if share < _LEAST_SHARE else f"{duration(seconds[doing])} ({percent(share)})"


def _share(seconds: Mapping[Doing, float], doing: Doing) -> float:
    """Of the time until the lane was done."""
    at_work_s = sum(seconds.get(each, 0.0) for each in _DOINGS)
    return seconds.get(doing, 0.0) / at_work_s if at_work_s else 0.0


def _bands(name: str, timeline: LaneTimeline) -> Plot:
    """Stacked by what was done, a bar for each slot or for some that are joined."""
    joined = -(-len(timeline.slots) // _MOST_BARS)
    bars = [_seconds(timeline.slots[start : start + joined]) for start in range(0, len(timeline.slots), joined)]
    width = 100 * joined / len(timeline.slots)
    edges: dict[Doing, list[tuple[float, float, float, float]]] = {doing: [] for doing in _DOINGS}
    for number, seconds in enumerate(bars):
        level = 100.0
        for doing in _DOINGS:
            if height := min(100 * seconds.get(doing, 0.0) / (joined * timeline.step_s), level):
                edges[doing].append((number * width, min((number + 1) * width, 100.0), level - height, level))
                level -= height
    sums = _seconds(timeline.slots)
    shown = [doing for doing in _DOINGS if _share(sums, doing) >= _LEAST_SHARE]
    span_s = len(timeline.slots) * timeline.step_s
    unit, ticks = time_ticks(span_s)
    shares = ", ".join(f"{_DOINGS[doing]} {percent(_share(sums, doing))}" for doing in shown)
    return Plot(
        caption="",
        text=f"The {name} lane over {duration(span_s)}: {shares or 'nothing to do'}.",
        shapes=[Shape(_look(doing, name), boxes(edges[doing])) for doing in shown],
        x_label=f"{unit} since the start",
        x_ticks=ticks,
        legend=[(_look(doing, name), _DOINGS[doing]) for doing in shown],
    )


def _look(doing: Doing, lane: str) -> str:
    return lane if doing == "sending" else doing


def _seconds(slots: Sequence[Mapping[Doing, float]]) -> Mapping[Doing, float]:
    """The slots joined to one."""
    sums: dict[Doing, float] = {}
    for slot in slots:
        for doing, seconds in slot.items():
            sums[doing] = sums.get(doing, 0.0) + seconds
    return sums
