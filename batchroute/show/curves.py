"""An evaluation's curves, drawn by matplotlib into a file; import this only where something is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
from matplotlib.figure import Figure

from batchroute.show.words import count, digits, plain

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from batchroute.learn.evaluate.figures import Evaluation

# Okabe and Ito's colours, which colour-blind readers can tell apart.
_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_LINES = ("-", "--", "-.")  # for more routers than there are colours
_BASELINE_LOOKS: dict[str, dict[str, Any]] = {
    "random": {"color": "#999999", "linestyle": ":", "label": "random"},
    "length": {"color": "#555555", "linestyle": "--", "linewidth": 1.0, "label": "prompt length"},
    "oracle": {"color": "#000000", "linestyle": "-", "linewidth": 1.0, "label": "oracle"},
}
_STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "batchroute",  # the same figures give the same bytes
    "figure.dpi": 120,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
}


def draw_curves(evaluation: Evaluation, file: Path, kind: Literal["png", "svg"]) -> None:
    """Writes quality over the share of strong calls, a line per router.

    The same evaluation gives the same bytes.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7.5, 5.0), layout="constrained")
        axes = figure.add_subplot(xlabel="strong calls, %", ylabel="mean quality")
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
