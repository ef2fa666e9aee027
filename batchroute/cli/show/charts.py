"""Charts of a report as SVG text, to stand inside a page.

Drawn by matplotlib in colours that stand for the page's own: the style sheet gives each its value, light or dark.
Only figures and words of ours come in here, never text of rows or providers.
"""

from __future__ import annotations

import re
from io import StringIO
from itertools import accumulate
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.ticker import MaxNLocator

from batchroute.cli.show.drawing import STYLE, new_axes
from batchroute.cli.show.words import threshold as threshold_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from batchroute.report.details import Timeline
    from batchroute.report.figures import Report

# A colour that matplotlib writes, and the variable of the style sheet that it becomes.
_INK, _FAINT = "#010101", "#020202"
_COLOURS = {"strong": "#030303", "weak": "#040404"}
_VARIABLES = {_INK: "--ink", _FAINT: "--faint", **{colour: f"--{side}" for side, colour in _COLOURS.items()}}
_STYLE = {
    **STYLE,
    "svg.fonttype": "none",  # text stays text: it takes the page's font and can be searched
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "axes.grid.axis": "y",
    "grid.color": _FAINT,
    "grid.linewidth": 0.4,
    "xtick.color": _INK,
    "ytick.color": _INK,
}
# Narrow enough to be read on a phone without zooming.
_INCHES = (4.2, 2.6)
_HOUR_S, _MINUTE_S = 3600.0, 60.0


def score_chart(report: Report) -> str:
    """Rows per score, each side in its colour, the threshold as a line."""
    with mpl.rc_context(_STYLE):
        figure, axes = _axes("score", "rows")
        threshold = report.threshold
        for side, lefts, widths, heights in _bars(report.score_histogram, 1.0 if threshold is None else threshold):
            axes.bar(lefts, heights, widths, align="edge", color=_COLOURS[side])
        if threshold is not None:
            axes.axvline(min(threshold, 1.0), color=_INK, linewidth=1.2)
            axes.set_title(f"threshold {threshold_words(threshold)}", fontsize=9, loc="right")
        axes.set_xlim(*_occupied(report.score_histogram))
        return _svg(figure)


def _occupied(bins: Sequence[int]) -> tuple[float, float]:
    """Where on [0, 1] there are rows, with a little air on both sides."""
    numbers = [number for number, rows in enumerate(bins) if rows]
    return max(0, numbers[0] - 2) / len(bins), min(len(bins), numbers[-1] + 3) / len(bins)


def _bars(bins: Sequence[int], threshold: float) -> list[tuple[str, list[float], list[float], Sequence[int]]]:
    """Left edges, widths and heights per side; the bar that the threshold falls into is cut there."""
    # With a threshold of 0.337 the bar from 0.33 to 0.34 is weak up to 0.337 and strong from there. A bar left of
    # it has a strong part of width 0, one right of it a weak part of width 0.
    width = 1 / len(bins)
    gap = 0.05 * width
    spans = [(number * width + gap, (number + 1) * width - gap) for number in range(len(bins))]
    cuts = [min(max(threshold, left), right) for left, right in spans]
    weak = [cut - left for (left, _), cut in zip(spans, cuts, strict=True)]
    strong = [right - cut for (_, right), cut in zip(spans, cuts, strict=True)]
    return [("weak", [left for left, _ in spans], weak, bins), ("strong", cuts, strong, bins)]


def cost_chart(timeline: Timeline) -> str:
    """Dollars spent so far over time, the endpoints stacked."""
    with mpl.rc_context(_STYLE):
        times, unit = _times(timeline)
        figure, axes = _axes(f"time since the first answer, {unit}", "USD so far")
        names = list(timeline.cost_usd)[::-1]
        sums = [[0.0, *accumulate(timeline.cost_usd[name])] for name in names]
        axes.stackplot(times, *sums, labels=names, colors=[_COLOURS[name] for name in names], linewidth=0)
        return _finished(figure, axes, times)


def speed_chart(timeline: Timeline) -> str:
    """Rows a second over time, a line per endpoint."""
    with mpl.rc_context(_STYLE):
        times, unit = _times(timeline)
        figure, axes = _axes(f"time since the first answer, {unit}", "rows per second")
        for name, counts in timeline.rows.items():
            speeds = [rows / timeline.slice_s for rows in counts]
            axes.stairs(speeds, times, label=name, color=_COLOURS[name], linewidth=1.5, baseline=None)
        return _finished(figure, axes, times)


def latency_chart(report: Report) -> str:
    """Median and tail of each endpoint's latency."""
    with mpl.rc_context(_STYLE):
        figure, axes = _axes("", "seconds")
        for position, (name, latency) in enumerate(report.latency_s.items()):
            if latency is not None:
                lefts, heights = [x + 0.4 * position for x in range(3)], (latency.p50, latency.p95, latency.p99)
                bars = axes.bar(lefts, heights, 0.38, color=_COLOURS[name], label=name)
                axes.bar_label(bars, fmt="%.2f", fontsize=8)
        axes.set_xticks([0.2, 1.2, 2.2], ["p50", "p95", "p99"])
        axes.margins(y=0.15)
        _add_legend(axes)
        return _svg(figure)


def _axes(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure, axes = new_axes(_INCHES, x_label, y_label)
    axes.tick_params(length=0, pad=5)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    return figure, axes


def _times(timeline: Timeline) -> tuple[Sequence[float], str]:
    """The edges of the slices in a unit that suits their span."""
    slices = max(map(len, timeline.rows.values()))
    span_s = slices * timeline.slice_s
    unit_s, unit = next(
        ((s, name) for s, name in ((_HOUR_S, "hours"), (_MINUTE_S, "minutes")) if span_s >= 2 * s),
        (1.0, "seconds"),
    )
    return [number * timeline.slice_s / unit_s for number in range(slices + 1)], unit


def _finished(figure: Figure, axes: Axes, times: Sequence[float]) -> str:
    axes.set_xlim(0, times[-1])
    axes.set_ylim(bottom=0)
    _add_legend(axes)
    return _svg(figure)


def _add_legend(axes: Axes) -> None:
    """Above the drawing, where no line can run through it."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderpad=0)


def _svg(figure: Figure) -> str:
    """The <svg> element alone, its colours the page's, without the names that would occur twice on a page."""
    stream = StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    drawing = stream.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", drawing)
    for colour, variable in _VARIABLES.items():
        drawing = drawing.replace(colour, f"var({variable})")
    return drawing
