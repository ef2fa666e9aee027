"""What the page's templates draw: tables with bars, and plots. Positions are in percent, so they fit any width.

A `look` is a class of the style sheet, which alone knows colours.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, log10
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a bar: where it begins on the bar's track, and how wide it is."""

    look: str
    left: float
    width: float


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table; `note` stands below its heading, a `dot` of a side's colour before it."""

    head: str
    cells: Sequence[str]
    bar: Sequence[Segment] = ()
    note: str | None = None
    dot: str = ""
    look: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """`headings` has one more than each row has cells; `bars` is the heading of the bars, if there are any.

    `legend` are the looks of the bars, where they need it.
    """

    caption: str
    headings: Sequence[str]
    rows: Sequence[Row]
    bars: str = ""
    legend: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()

    @property
    def is_wide(self) -> bool:
        """Whether a phone shows each row as a card."""
        return len(self.headings) + bool(self.bars) > 3 or any(row.note is not None for row in self.rows)


@dataclass(frozen=True, slots=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Shape:
    """An area or a line: an SVG path in percent of the plot, y downwards."""

    look: str
    path: str


@dataclass(frozen=True, slots=True)
class Plot:
    """`text` says in words what the drawing shows; `mark` is a vertical line with a label."""

    caption: str
    text: str
    shapes: Sequence[Shape]
    x_label: str
    x_ticks: Sequence[Tick]
    y_label: str = ""
    y_ticks: Sequence[Tick] = ()
    legend: Sequence[tuple[str, str]] = ()
    mark: Tick | None = None


def stacked(parts: Iterable[tuple[str, float | None]], whole: float) -> list[Segment]:
    """Amounts one after the other on a track that is as long as `whole`; what is unknown has no place on it."""
    left, bar = 0.0, []
    for look, amount in parts:
        width = 100 * (amount or 0.0) / whole if whole else 0.0
        if width > 0:
            bar.append(Segment(look, left, width))
            left += width
    return bar


def round_ticks(top: float, most: int = 5) -> list[float]:
    """Round numbers from 0 to `top`, at most `most` steps of 1, 2 or 5 times a power of ten."""
    # For a top of 23 and at most 5 steps a step is at least 4.6, so it is 5: 0, 5, 10, 15, 20.
    least = top / most
    power = 10.0 ** floor(log10(least))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
    return [number * step for number in range(floor(top / step + 1e-9) + 1)]


def boxes(edges: Sequence[tuple[float, float, float, float]]) -> str:
    """The path of rectangles given as left, right, top and bottom."""
    return "".join(
        f"M{left:.2f} {top:.2f}H{right:.2f}V{bottom:.2f}H{left:.2f}Z" for left, right, top, bottom in edges
    )
