"""What each strong share keeps of the strong side's quality, as a table that fits a terminal of any size.

      strong     kept         interval   cost     target  length   random  90 %          105 %
     100.0 %  100.0 %                     100 %    shown  100.0 %  100.0 %       │    ●
    > 85.0 %   97.1 %   95.4 to 98.6 %    88 %    chosen   96.0 %   95.1 %       │──●──
      80.0 %   96.4 %   94.5 to 98.1 %    84 %  not shown  95.1 %   93.8 %      ─│─●──

On the right it is drawn: the interval as a line, the estimate as a point, the target as an upright. Columns that
have no room are left out, the drawing first; on a low terminal the shares stay that say most. Computes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from math import ceil, floor
from typing import TYPE_CHECKING

from rich.cells import cell_len

from batchroute.show.quality import cost_share_words, interval_words
from batchroute.show.tables import add_row, table
from batchroute.show.words import percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

    from batchroute.report.quality import CurvePoint, Quality, TestedShare

CONTROLS = ("length", "random")
_GAP = 2
_LOW_LINES = 45  # of a terminal on which not every share has a line
_STEP = 0.05  # the distance of two shares
_ALWAYS = (1.0, 0.75, 0.5, 0.25, 0.0)
_NARROWEST, _WIDEST = 16, 40  # of the drawing
_GRID = 0.05


@dataclass(frozen=True, slots=True)
class ShareLine:
    """One share and what it keeps, by the router in use and by the controls; `target`: what was shown of it."""

    point: CurvePoint
    target: str
    controls: Mapping[str, float | None]
    is_chosen: bool


def share_lines(quality: Quality) -> list[ShareLine]:
    """By share, all strong first; shares that ties have made one stand there once."""
    points = quality.curves.get(quality.router, [])
    chosen = _nearest(points, quality.strong_share)
    lines: dict[float, ShareLine] = {}
    for point, tested in zip_longest(points, quality.tested[: len(points)]):
        is_chosen = chosen is not None and point.share == chosen.share
        target = "" if tested is None else _target_words(tested, quality.target, is_chosen=is_chosen)
        controls = {name: _kept_near(quality.curves.get(name, []), point.share) for name in CONTROLS}
        lines.setdefault(point.share, ShareLine(point, target, controls, is_chosen))
    return list(lines.values())


def _target_words(tested: TestedShare, target: float | None, *, is_chosen: bool) -> str:
    if tested.passes:
        return "chosen" if is_chosen else "shown"
    if tested.passes is None:
        return ""
    below = target is not None and tested.kept is not None and tested.kept < target
    return "below" if below else "not shown"


def _nearest(points: Sequence[CurvePoint], share: float | None) -> CurvePoint | None:
    return None if share is None else min(points, key=lambda each: abs(each.share - share), default=None)


def _kept_near(points: Sequence[CurvePoint], share: float) -> float | None:
    nearest = _nearest(points, share)
    return nearest.kept if nearest is not None and abs(nearest.share - share) <= _STEP else None


@dataclass(frozen=True, slots=True)
class SharesTable:
    """All shares, or `few`: those that say most, as on a low terminal."""

    quality: Quality
    few: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = share_lines(self.quality)
        if self.few or (console.is_terminal and console.size.height < _LOW_LINES):
            lines = list(telling(lines))
        columns = _fitting(_columns(self.quality, lines), options.max_width)
        left = options.max_width - _width(columns) - _GAP
        is_drawn = left >= _NARROWEST and any(line.point.kept is not None for line in lines)
        if is_drawn:
            columns.append(_drawn(self.quality, lines, min(left, _WIDEST), ascii_only=options.ascii_only))
        shown = table(*(heading for heading, _ in columns))
        if is_drawn:
            shown.columns[-1].justify = "left"
        for number, line in enumerate(lines):
            add_row(shown, *(cells[number] for _, cells in columns), bold=line.is_chosen)
        yield shown


def telling(lines: Sequence[ShareLine]) -> Iterator[ShareLine]:
    """The ends and the quarters, the choice with its neighbours, and the first share that was not shown."""
    shares = [line.point.share for line in lines]
    kept = {shares.index(min(shares, key=lambda each: abs(each - share))) for share in _ALWAYS if shares}
    for number, line in enumerate(lines):
        if line.is_chosen:
            kept |= {number - 1, number, number + 1}
    kept |= {number for number, line in enumerate(lines) if line.target in {"below", "not shown"}}
    return (line for number, line in enumerate(lines) if number in kept)


_Column = tuple[str, list[str]]


def _columns(quality: Quality, lines: Sequence[ShareLine]) -> list[tuple[int, _Column]]:
    """In the order in which they stand, each with its rank among those that are to be kept."""
    points = [line.point for line in lines]
    shares = [f"{'>' if line.is_chosen else ' '} {percent(line.point.share):>7}" for line in lines]
    columns = [
        (0, ("   strong", shares)),
        (1, ("kept", [percent(point.kept) for point in points])),
        (3, ("interval", [interval_words(point.low, point.high) for point in points])),
        (4, ("cost", [cost_share_words(point.cost_share) for point in points])),
        (2, ("target", [line.target for line in lines])),
    ]
    for rank, name in enumerate(CONTROLS, 5):
        if name in quality.curves and name != quality.router:
            columns.append((rank, (name, [_dashed(line.controls[name]) for line in lines])))
    return [column for column in columns if any(cell.strip("- ") for cell in column[1][1])]


def _dashed(share: float | None) -> str:
    return "-" if share is None else percent(share)


def _fitting(columns: Sequence[tuple[int, _Column]], width: int) -> list[_Column]:
    """As many as fit, the most important ones first."""
    kept = list(columns)
    while len(kept) > 1 and _width([column for _, column in kept]) > width:
        kept.remove(max(kept, key=lambda column: column[0]))
    return [column for _, column in kept]


def _width(columns: Sequence[_Column]) -> int:
    return sum(max(map(cell_len, (heading, *cells))) + _GAP for heading, cells in columns)


def _drawn(quality: Quality, lines: Sequence[ShareLine], width: int, *, ascii_only: bool) -> _Column:
    """Each interval on one scale, which its heading gives."""
    line, point, upright = "-o|" if ascii_only else "─●│"
    points = [each.point for each in lines]
    ends = [end for each in points for end in (each.kept, each.low, each.high) if end is not None]
    ends += [] if quality.target is None else [quality.target]
    low = floor(min(ends, default=0.0) / _GRID) * _GRID
    high = max(ceil(max(ends, default=1.0) / _GRID) * _GRID, low + _GRID)

    def place(kept: float) -> int:
        return round((width - 1) * (kept - low) / (high - low))

    def strip(each: CurvePoint) -> str:
        cells = [" "] * width
        if each.low is not None and each.high is not None:
            cells[place(each.low) : place(each.high) + 1] = line * (place(each.high) - place(each.low) + 1)
        if quality.target is not None:
            cells[place(quality.target)] = upright
        if each.kept is not None:
            cells[place(each.kept)] = point
        return "".join(cells)

    left, right = f"{100 * low:.0f} %", f"{100 * high:.0f} %"
    return f"{left}{right:>{width - len(left)}}", [strip(each) for each in points]
