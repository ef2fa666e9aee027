"""What all drawings share: matplotlib's style, the axes, the colours. Knows nothing of reports or evaluations.

matplotlib is an extra: ask `require_matplotlib` before you import what draws.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchroute.errors import UsageFault

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind readers can tell apart.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "batchroute",  # the same figures give the same bytes
}


def require_matplotlib(what_needs: str) -> None:
    """UsageFault where the extra is not installed; it begins with `what_needs`, as "--plot needs"."""
    try:
        import matplotlib as _  # noqa: F401  # whether it can be imported is the question
    except ImportError as missing:
        raise UsageFault(f"{what_needs} matplotlib: pip install 'batchroute[html]'") from missing


def new_axes(inches: tuple[float, float], x_label: str, y_label: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, layout="constrained")
    return figure, figure.add_subplot(xlabel=x_label, ylabel=y_label)
