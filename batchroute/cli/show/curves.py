"""An evaluation as a drawing: quality over the share of strong calls, a line per router. Needs matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
from matplotlib.figure import Figure

from batchroute.cli.show.words import plain

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from batchroute.learn.evaluate.figures import Evaluation

# Okabe and Ito's colours, which colour-blind readers can tell apart, then line styles for more routers than those.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLES = ("-", "--", "-.")
BASELINE_LOOKS: dict[str, dict[str, Any]] = {
    "random": {"color": "#999999", "linestyle": ":", "label": "random"},
    "length": {"color": "#555555", "linestyle": "--", "linewidth": 1.0, "label": "prompt length"},
    "oracle": {"color": "#000000", "linestyle": "-", "linewidth": 1.0, "label": "oracle"},
}
_RC: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "svg.hashsalt": "batchroute",
}


def draw_curves(evaluation: Evaluation, file: Path, kind: Literal["png", "svg"]) -> None:
    """Writes a .png or .svg; the same evaluation gives the same bytes."""
    with mpl.rc_context(_RC):
        figure = Figure(figsize=(7.5, 5.0), layout="constrained", dpi=120)
        axes = figure.add_subplot(xlabel="strong calls, %", ylabel="mean quality")
        _add_lines(axes, evaluation)
        _add_level(axes, evaluation.strong, f"all strong: {plain(evaluation.strong_model)}")
        _add_level(axes, evaluation.weak, f"all weak: {plain(evaluation.weak_model)}")
        axes.set_xlim(0, 100)
        axes.set_title(f"{evaluation.rows:,} labelled prompts", loc="left", fontsize=10)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="APGR", alignment="left")
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(file, format=kind, metadata=metadata)


def _add_level(axes: Axes, quality: float, words: str) -> None:
    axes.axhline(quality, color="#BBBBBB", linewidth=0.8, zorder=0)
    axes.annotate(
        words, (99, quality), xytext=(0, 3), textcoords="offset points", ha="right", fontsize=8, color="#555555"
    )


def _add_lines(axes: Axes, evaluation: Evaluation) -> None:
    number = 0
    for name, figures in evaluation.routers.items():
        look = BASELINE_LOOKS.get(name)
        if look is None:
            colour, style = COLOURS[number % len(COLOURS)], STYLES[number // len(COLOURS) % len(STYLES)]
            look = {"color": colour, "linestyle": style, "linewidth": 2.0}
            number += 1
        shares, qualities = zip(*figures.curve, strict=True)
        apgr = "" if figures.apgr is None else f"  {figures.apgr:.3f}"
        axes.plot(shares, qualities, **{**look, "label": f"{look.get('label', plain(name))}{apgr}"})
