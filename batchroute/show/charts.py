"""Drawings by matplotlib: a report's charts, to stand inside a page, and an evaluation's curves, a file.

matplotlib is an extra: ask `require_matplotlib` before you import this. The page's charts are SVG text in colours
that stand for the page's own: its style sheet gives each its value, light or dark. Only figures and words of ours
come in there, never text of rows or providers.
"""

from __future__ import annotations

import re
from io import StringIO
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from batchroute.show.words import count, digits, plain
from batchroute.show.words import threshold as threshold_words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from batchroute.learn.evaluate.figures import Evaluation
    from batchroute.report.details import Timeline
    from batchroute.report.figures import Report

_BOTH_STYLES: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "batchroute",  # the same figures give the same bytes
}

# A colour that matplotlib writes, and the variable of the style sheet that it becomes.
_INK, _FAINT = "#010101", "#020202"
_COLOURS = {"strong": "#030303", "weak": "#040404"}
_VARIABLES = {_INK: "--ink", _FAINT: "--faint", **{colour: f"--{side}" for side, colour in _COLOURS.items()}}
_PAGE_STYLE = {
    **_BOTH_STYLES,
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

# Okabe and Ito's colours, which colour-blind readers can tell apart.
_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_LINES = ("-", "--", "-.")  # for more routers than there are colours
_BASELINE_LOOKS: dict[str, dict[str, Any]] = {
    "random": {"color": "#999999", "linestyle": ":", "label": "random"},
    "length": {"color": "#555555", "linestyle": "--", "linewidth": 1.0, "label": "prompt length"},
    "oracle": {"color": "#000000", "linestyle": "-", "linewidth": 1.0, "label": "oracle"},
}
_CURVES_STYLE = {**_BOTH_STYLES, "figure.dpi": 120, "grid.color": "#DDDDDD", "grid.linewidth": 0.5}


def score_chart(report: Report) -> str:
    """Rows per score, each side in its colour, the threshold as a line."""
    with mpl.rc_context(_PAGE_STYLE):
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
    with mpl.rc_context(_PAGE_STYLE):
        times, unit = _times(timeline)
        figure, axes = _axes(f"time since the first answer, {unit}", "USD so far")
        names = list(timeline.cost_usd)[::-1]
        sums = [[0.0, *accumulate(timeline.cost_usd[name])] for name in names]
        axes.stackplot(times, *sums, labels=names, colors=[_COLOURS[name] for name in names], linewidth=0)
        return _finished(figure, axes, times)


def speed_chart(timeline: Timeline) -> str:
    """Rows a second over time, a line per endpoint."""
    with mpl.rc_context(_PAGE_STYLE):
        times, unit = _times(timeline)
        figure, axes = _axes(f"time since the first answer, {unit}", "rows per second")
        for name, counts in timeline.rows.items():
            speeds = [rows / timeline.slice_s for rows in counts]
            axes.stairs(speeds, times, label=name, color=_COLOURS[name], linewidth=1.5, baseline=None)
        return _finished(figure, axes, times)


def latency_chart(report: Report) -> str:
    """Median and tail of each endpoint's latency."""
    with mpl.rc_context(_PAGE_STYLE):
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
    figure, axes = _new_axes(_INCHES, x_label, y_label)
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


def draw_curves(evaluation: Evaluation, file: Path, kind: Literal["png", "svg"]) -> None:
    """Writes quality over the share of strong calls, a line per router.

    The same evaluation gives the same bytes.
    """
    with mpl.rc_context(_CURVES_STYLE):
        figure, axes = _new_axes((7.5, 5.0), "strong calls, %", "mean quality")
        _add_lines(axes, evaluation)
        _add_level(axes, evaluation.strong, f"all strong: {plain(evaluation.strong_model)}")
        _add_level(axes, evaluation.weak, f"all weak: {plain(evaluation.weak_model)}")
        axes.set_xlim(0, 100)
        axes.set_title(f"{count(evaluation.rows)} labelled prompts", loc="left", fontsize=10)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="APGR", alignment="left")
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(file, format=kind, metadata=metadata)


def _add_level(axes: Axes, quality: float, words: str) -> None:
    axes.axhline(quality, color="#BBBBBB", linewidth=0.8, zorder=0)
    axes.annotate(
        words, (99, quality), xytext=(0, 3), textcoords="offset points", ha="right", fontsize=8, color="#555555"
    )


def _add_lines(axes: Axes, evaluation: Evaluation) -> None:
    routers = [name for name in evaluation.routers if name not in _BASELINE_LOOKS]
    looks = _BASELINE_LOOKS | {name: _line_look(number, name) for number, name in enumerate(routers)}
    for name, figures in evaluation.routers.items():
        look = looks[name]
        apgr = "" if figures.apgr is None else f"  {digits(figures.apgr, 3)}"
        shares, qualities = zip(*figures.curve, strict=True)
        axes.plot(shares, qualities, **{**look, "label": f"{look['label']}{apgr}"})


def _line_look(number: int, name: str) -> dict[str, Any]:
    line = _LINES[number // len(_PALETTE) % len(_LINES)]
    return {"color": _PALETTE[number % len(_PALETTE)], "linestyle": line, "linewidth": 2.0, "label": plain(name)}


def _new_axes(inches: tuple[float, float], x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=inches, layout="constrained")
    return figure, figure.add_subplot(xlabel=x_label, ylabel=y_label)
