"""What a pilot found, drawn: quality kept against cost with its band, what each share keeps, how routers rank.

The sentences are show/quality's; here are only shapes and tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from math import ceil, floor
from typing import TYPE_CHECKING

from batchroute.show.page.values import Plot, Row, Shape, Table, Tick, round_ticks
from batchroute.show.quality import ROUTERS, cost_share_words, interval_words
from batchroute.show.shares import CONTROLS, share_lines, telling
from batchroute.show.words import count, digits, exact_percent, interval, percent, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from batchroute.report.quality import CurvePoint, Quality

_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_MOST_STEPS = 6
_CONTROLS = {"length": "prompt length, dashed", "random": "random, dotted"}


@dataclass(frozen=True, slots=True)
class _Axes:
    """Cost from 0 to `most` to the right, or the strong share where a price is unknown; what is kept upwards."""

    by_cost: bool
    most: float
    low: float
    high: float
    step: float

    @staticmethod
    def around(curves: Iterable[Sequence[CurvePoint]], target: float | None) -> _Axes:
        """All points and their intervals, and the target."""
        points = list(chain.from_iterable(curves))
        costs = [point.cost_share for point in points if point.cost_share is not None]
        ends = [end for point in points for end in (point.kept, point.low, point.high) if end is not None]
        ends += [] if target is None else [target]
        span = max(ends) - min(ends)
        step = next((each for each in _STEPS if span / each <= _MOST_STEPS - 2), _STEPS[-1])
        low = floor(round(min(ends) / step, 6)) * step
        high = max(ceil(round(max(ends) / step, 6)) * step, low + step)
        by_cost = len(costs) == len(points)
        return _Axes(by_cost, max(1.0, *costs) if by_cost else 1.0, low, high, step)

    def x(self, point: CurvePoint) -> float:
        """In percent of the plot."""
        return 100 * ((point.cost_share or 0.0) if self.by_cost else point.share) / self.most

    def y(self, kept: float) -> float:
        return 100 - 100 * (kept - self.low) / (self.high - self.low)

    def line(self, points: Iterable[CurvePoint]) -> str:
        return _path((self.x(point), self.y(point.kept)) for point in points if point.kept is not None)

    def band(self, points: Sequence[CurvePoint]) -> str:
        """An interval that is open reaches the end of the plot."""
        upper = [(self.x(each), self.y(self.high if each.high is None else each.high)) for each in points]
        lower = [(self.x(each), self.y(self.low if each.low is None else each.low)) for each in points]
        return f"{_path([*upper, *reversed(lower)])}Z"

    @property
    def x_ticks(self) -> list[Tick]:
        return [Tick(100 * share / self.most, f"{100 * share:.0f} %") for share in round_ticks(self.most)]

    @property
    def y_ticks(self) -> list[Tick]:
        levels = [self.low + number * self.step for number in range(round((self.high - self.low) / self.step) + 1)]
        return [Tick(100 - self.y(kept), f"{100 * kept:.0f} %") for kept in levels]


def _path(places: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in places)


def kept_plot(quality: Quality) -> Plot | None:
    """Quality kept over cost, with the target and the point chosen; None where nothing is known of it."""
    curves = _known_curves(quality)
    if quality.router not in curves:
        return None
    points = curves[quality.router]
    axes = _Axes.around(curves.values(), quality.target)
    controls = [name for name in CONTROLS if name in curves and name != quality.router]
    shapes = [Shape("kept band", axes.band(points))]
    if quality.target is not None:
        shapes.append(Shape("target line", f"M0 {axes.y(quality.target):.2f}H100"))
    shapes += [Shape(f"{name} line", axes.line(curves[name])) for name in controls]
    shapes.append(Shape("kept line", axes.line(points)))
    chosen = next((each.point for each in share_lines(quality) if each.is_chosen), None)
    if chosen is not None:
        shapes.append(Shape("kept point", f"{axes.line([chosen])}h0"))
    return Plot(
        caption="Quality kept against cost" if axes.by_cost else "Quality kept against the strong share",
        text=" ".join(_said(quality, curves, chosen)),
        shapes=shapes,
        x_label="cost of the job, against all rows strong" if axes.by_cost else "rows that go strong",
        x_ticks=axes.x_ticks,
        y_label="kept",
        y_ticks=axes.y_ticks,
        legend=[
            ("kept", f"{_router(quality.router)}, with its interval"),
            *((name, _CONTROLS[name]) for name in controls),
            *([] if quality.target is None else [("target", f"target {exact_percent(quality.target)}")]),
        ],
        mark=None if chosen is None else Tick(axes.x(chosen), f"{percent(chosen.share)} strong"),
    )


def _known_curves(quality: Quality) -> Mapping[str, list[CurvePoint]]:
    """Of the router in use and of the controls, as far as anything is known."""
    curves = {
        name: [point for point in quality.curves.get(name, []) if point.kept is not None]
        for name in (quality.router, *CONTROLS)
    }
    return {name: points for name, points in curves.items() if points}


def _router(name: str) -> str:
    return ROUTERS.get(name, plain(name))


def _said(
    quality: Quality, curves: Mapping[str, Sequence[CurvePoint]], chosen: CurvePoint | None
) -> Iterator[str]:
    """The same in words."""
    for name, points in curves.items():
        last = points[-1]
        kept = f"{percent(points[0].share)} strong keeps {percent(points[0].kept)}, {percent(last.share)} strong"
        yield f"By {_router(name)}, {kept} keeps {percent(last.kept)}."
    if quality.target is not None:
        yield f"The target is {exact_percent(quality.target)}."
    if chosen is not None:
        cost = "" if chosen.cost_share is None else f" at {cost_share_words(chosen.cost_share)} of the cost"
        kept = f"{percent(chosen.kept)} ({interval_words(chosen.low, chosen.high)})"
        yield f"Chosen is {percent(chosen.share)} strong, which keeps {kept}{cost}."


def shares_table(quality: Quality) -> Table | None:
    """The shares that say most."""
    lines = list(telling(share_lines(quality)))
    if not lines:
        return None
    controls = [name for name in CONTROLS if name in quality.curves and name != quality.router]
    rows = [
        Row(
            _unbroken(f"{percent(line.point.share)} strong"),
            [
                percent(line.point.kept),
                _unbroken(interval_words(line.point.low, line.point.high)),
                cost_share_words(line.point.cost_share),
                line.target,
                *(percent(line.controls[name]) for name in controls),
            ],
            look="chosen" if line.is_chosen else "",
        )
        for line in lines
    ]
    headings = ["Share", "Kept", "Interval", "Cost", "Target", *(f"By {_router(name)}" for name in controls)]
    return Table("What each share keeps", headings, rows)


def _unbroken(words: str) -> str:
    return words.replace(" ", "\N{NO-BREAK SPACE}")


def routers_table(quality: Quality) -> Table | None:
    """How well each ranks the graded rows."""
    rows = [
        Row(
            _router(name)[:1].upper() + _router(name)[1:],
            [digits(rank.apgr, 3), interval(rank.apgr_ci), "routes" if name == quality.router else ""],
            look="chosen" if name == quality.router else "",
        )
        for name, rank in quality.routers.items()
    ]
    return Table("How routers rank these rows", ["Router", "APGR", "95 % interval", ""], rows) if rows else None


def watch_table(quality: Quality) -> Table | None:
    """What the watched rows of the night keep, all of them and by route."""
    watch = quality.watch
    if watch is None:
        return None
    most = "-" if watch.high is None else f"at most {percent(watch.high)}"
    rows = [Row("All watched rows", [count(watch.rows), percent(watch.kept), most])]
    rows += [
        Row(plain(each.name), [count(each.rows), percent(each.kept), interval_words(each.low, each.high)])
        for each in watch.by_route
    ]
    return Table("What watched rows keep", ["Rows", "Watched", "Kept", "Interval"], rows)
