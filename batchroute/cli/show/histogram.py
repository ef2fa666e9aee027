"""A score distribution as bars of block characters, with a caret under the threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from batchroute.cli.show.words import threshold as threshold_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_BAR_WIDTH = 2
_FEWEST_BARS, _MOST_BARS = 10, 25
_JOINED = (1, 2, 4)  # bins of the histogram in a bar
_BAR_HEIGHT = 5
_EIGHTHS = " ▁▂▃▄▅▆▇█"


def draw_histogram(histogram: Sequence[int], threshold: float | None) -> Text:
    """Rows per score from a histogram over [0, 1] that has some, as far as there are rows."""
    low, high, bars = _occupied(histogram)
    width = _BAR_WIDTH * len(bars)
    ends = f"{low:.2f}", f"{high:.2f}"
    axis = ends[0] + "score".center(width - sum(map(len, ends))) + ends[1]
    text = Text("\n".join((*_lines(bars), axis)))
    if threshold is not None:
        column = min(width - 1, max(0, int(width * (threshold - low) / (high - low))))
        text.append(f"\n{' ' * column}^ threshold {threshold_words(threshold)}, strong from here", style="bold")
    return text


def _occupied(bins: Sequence[int]) -> tuple[float, float, list[int]]:
    """The part of a histogram over [0, 1] that has rows, as a few bars, and where it begins and ends.

    Scores from 0.00 to 0.44 fill bins 0 to 43 of 100. That is too many bars one a bin, so two are joined: 22 bars.
    """
    occupied = [number for number, rows in enumerate(bins) if rows]
    joined = next(size for size in _JOINED if -(-(occupied[-1] + 1) // size) - occupied[0] // size <= _MOST_BARS)
    first, last = occupied[0] // joined * joined, -(-(occupied[-1] + 1) // joined) * joined
    last = min(max(last, first + _FEWEST_BARS * joined), len(bins))
    first = max(0, min(first, last - _FEWEST_BARS * joined))
    bars = [sum(bins[start : start + joined]) for start in range(first, last, joined)]
    return first / len(bins), last / len(bins), bars


def _lines(bars: Sequence[int]) -> Iterable[str]:
    # A bar of few rows among many is one eighth high, not nothing.
    eighths = [round(8 * _BAR_HEIGHT * rows / max(bars)) or (rows > 0) for rows in bars]
    for level in reversed(range(_BAR_HEIGHT)):
        yield "".join(_EIGHTHS[min(8, max(0, height - 8 * level))] * _BAR_WIDTH for height in eighths)
