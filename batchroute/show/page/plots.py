"""Scores with the threshold, money and speed over time, as plots."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from batchroute.show.page.values import Plot, Shape, Tick, boxes, round_ticks
from batchroute.show.words import count, duration, money, speed
from batchroute.show.words import threshold as threshold_words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchroute.report.details import Timeline
    from batchroute.report.figures import Report

_UNITS = ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))
_AIR = 0.05  # of a bar's width, on both sides


def score_plot(report: Report) -> Plot | None:
    """Rows per score, each side in its colour, the threshold as a line; None without scores."""
    bins = report.score_histogram
    occupied = [number for number, rows in enumerate(bins) if rows]
    if not occupied:
        return None
    first, last = max(0, occupied[0] - 2), min(len(bins), occupied[-1] + 3)
    most = max(bins)
    at = _scale(first / len(bins), last / len(bins))
    threshold = report.threshold
    cut = 100.0 if threshold is None else at(min(threshold, 1.0))
    spans = [
        (at((number + _AIR) / len(bins)), at((number + 1 - _AIR) / len(bins)), 100 - 100 * bins[number] / most)
        for number in range(first, last)
        if bins[number]
    ]
    # The bar that the threshold falls into is cut there: weak to the left of it, strong to the right.
    weak = [(left, min(right, cut), top, 100.0) for left, right, top in spans if left < cut]
    strong = [(max(left, cut), right, top, 100.0) for left, right, top in spans if right > cut]
    scores = round_ticks(1.0, most=round(5 * len(bins) / (last - first)))
    inside = [score for score in scores if first / len(bins) <= score <= last / len(bins)]
    low, high = occupied[0] / len(bins), (occupied[-1] + 1) / len(bins)
    return Plot(
        caption="Scores and the threshold",
        text=f"{count(sum(bins))} rows have scores between {low:.2f} and {high:.2f}; "
        f"the threshold is {threshold_words(threshold)}: rows with this score or a higher one go strong.",
        shapes=[Shape("weak", boxes(weak)), Shape("strong", boxes(strong))],
        x_label="score",
        x_ticks=[Tick(at(score), f"{score:.2f}") for score in inside],
        y_label="rows",
        y_ticks=_counts(most),
        legend=[("weak", "weak"), ("strong", "strong")],
        mark=None
        if threshold is None
        else Tick(min(max(cut, 0.0), 100.0), f"threshold {threshold_words(threshold)}"),
    )


def cost_plot(timeline: Timeline) -> Plot:
    """Dollars spent so far over time, the endpoints stacked."""
    names = list(timeline.cost_usd)[::-1]
    sums = {name: [0.0, *accumulate(timeline.cost_usd[name])] for name in names}
    totals = [sum(at_one_time) for at_one_time in zip(*sums.values(), strict=True)]
    top = totals[-1] or 1.0
    shapes, floors = [], [0.0] * len(totals)
    for name in names:
        ceilings = [low + usd for low, usd in zip(floors, sums[name], strict=True)]
        shapes.append(Shape(name, _area(floors, ceilings, top)))
        floors = ceilings
    unit, ticks = time_ticks(_span_s(timeline))
    shares = ", ".join(f"{name} {money(sums[name][-1])}" for name in reversed(names))
    return Plot(
        caption="Cost over time",
        text=f"The rows' cost grew to USD {money(totals[-1])} in {duration(_span_s(timeline))}: {shares}.",
        shapes=shapes,
        x_label=f"{unit} since the first answer",
        x_ticks=ticks,
        y_label="USD so far",
        y_ticks=[Tick(100 * usd / top, f"{usd:,.{_places(top)}f}") for usd in round_ticks(top)],
        legend=[(name, name) for name in reversed(names)],
    )


def speed_plot(timeline: Timeline) -> Plot:
    """Rows a second over time, a line per endpoint."""
    speeds = {name: [rows / timeline.slice_s for rows in counts] for name, counts in timeline.rows.items()}
    top = max(map(max, speeds.values())) or 1.0
    unit, ticks = time_ticks(_span_s(timeline))
    most = ", ".join(f"{name} up to {speed(max(values))}" for name, values in speeds.items())
    return Plot(
        caption="Throughput",
        text=f"Rows answered, refused or failed a second, over {duration(_span_s(timeline))}: {most}.",
        shapes=[Shape(f"{name} line", _stairs(values, top)) for name, values in speeds.items()],
        x_label=f"{unit} since the first answer",
        x_ticks=ticks,
        y_label="rows per second",
        y_ticks=[Tick(100 * rows / top, f"{rows:,.{_places(top)}f}") for rows in round_ticks(top)],
        legend=[(name, name) for name in speeds],
    )


def time_ticks(span_s: float) -> tuple[str, list[Tick]]:
    """The unit that suits a span of time, and round numbers of it."""
    unit_s, unit = next(((size, name) for size, name in _UNITS if span_s >= 2 * size), _UNITS[-1])
    top = span_s / unit_s
    return unit, [Tick(100 * number / top, f"{number:g}") for number in round_ticks(top, most=6)]


def _span_s(timeline: Timeline) -> float:
    return timeline.slice_s * max(map(len, timeline.rows.values()))


def _scale(low: float, high: float) -> Callable[[float], float]:
    return lambda value: 100 * (value - low) / (high - low)


def _counts(most: int) -> list[Tick]:
    return [Tick(100 * rows / most, count(round(rows))) for rows in round_ticks(most) if rows == round(rows)]


def _places(top: float) -> int:
    """Decimals that tell a quarter of `top` from its half."""
    return next((places for places in range(4) if top >= 8 / 10**places), 4)


def _area(floors: Sequence[float], ceilings: Sequence[float], top: float) -> str:
    step = 100 / (len(floors) - 1)
    there = " ".join(f"{number * step:.2f} {100 - 100 * usd / top:.2f}" for number, usd in enumerate(ceilings))
    back = " ".join(
        f"{number * step:.2f} {100 - 100 * usd / top:.2f}" for number, usd in reversed([*enumerate(floors)])
    )
    return f"M{there}L{back}Z"


def _stairs(values: Sequence[float], top: float) -> str:
    step = 100 / len(values)
    heights = [100 - 100 * value / top for value in values]
    return f"M0 {heights[0]:.2f}" + "".join(
        f"V{height:.2f}H{(number + 1) * step:.2f}" for number, height in enumerate(heights)
    )
