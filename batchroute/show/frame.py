"""A run at work as a few lines of text that fit a terminal, to be drawn anew in place.

    0:12:41, about 0:00:42 left, 5,000 done before
    all     ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━────────────────── 61 %  12,204 of 20,000  182.3 rows/s
            $3.21 of 100.00, saved about $20.1000 (86.2 %) against all strong
            3 refused, 12 failed, timeout 12
    strong  ━━━━━━━━━━━━━━━━━━────────────────────────────  40 %     800 of 2,000    12.1 rows/s
            sending, 64 in flight, 150,000 of 200,000 tokens/min
    ...

Lines are made of phrases and broken between these, else between words. They are made by hand: drawn four times a
second, a table would cost several times as much. Knows no terminals but their size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from rich.cells import cell_len, chop_cells
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from batchroute.report.lanes import lane_words
from batchroute.show.run_words import (
    ended_words,
    lane_rows_words,
    lane_speed_words,
    left_words,
    money_words,
    pilot_rows_words,
    rows_words,
    speed_words,
    use_words,
    whole_percent,
)
from batchroute.show.words import brief, clock, count, one_line, plain, speed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from batchroute.run.progress import LaneProgress, Progress
    from batchroute.show.speed import LaneSpeed, Speed
    from batchroute.types import Doing

_LEAST_BAR = 10
_GAP = "  "
_USUAL_SPEED = speed(100.0)
_WHOLE = "all"
_LINE_END = Text("\n", no_wrap=True, overflow="crop")
_LINES = "\N{BOX DRAWINGS HEAVY HORIZONTAL}", "\N{BOX DRAWINGS LIGHT HORIZONTAL}"
_ASCII_LINES = "=", "-"
_STYLES: dict[Doing, str] = {
    "sending": "green",
    "rate_limited": "yellow",
    "paced": "green",
    "tier_full": "yellow",
    "away": "bold red",
    "no_money": "yellow",
    "retrying": "yellow",
    "waiting": "dim",
    "done": "green",
    "stopped": "bold red",
}


@dataclass(frozen=True, slots=True)
class Screen:
    """What a frame has to fit: columns and lines, and whether there is more than ASCII."""

    width: int
    height: int
    ascii_only: bool = False


@dataclass(frozen=True, slots=True)
class _Bar:
    """One bar and its figures; `done` of `rows`, or none where `rows` is None."""

    name: str
    done: int
    rows: int | None
    figures: tuple[str, str]

    @property
    def percent(self) -> str:
        return "" if self.rows is None else whole_percent(self.done, self.rows)

    @property
    def grows_by(self) -> int:
        """Characters that the count of rows has yet to come: room is kept for them, so that nothing moves."""
        return 0 if self.rows is None else max(0, len(count(self.rows)) - len(count(self.done)))


def frame_with_hint(progress: Progress, now: Speed, screen: Screen, local: datetime) -> Text:
    """The frame, what Ctrl-C does, and an empty line for what the terminal writes at the cursor: ^C, or Killed.

    One line of the screen stays free.
    """
    hint = "Ctrl-C stops in order" if progress.stops_in_s() is None else "Ctrl-C again leaves them"
    room = replace(screen, height=max(1, screen.height - 3))
    return _LINE_END.join([frame(progress, now, room, local), Text(hint[: screen.width], "dim"), Text()])


def frame(progress: Progress, now: Speed, screen: Screen, local: datetime) -> Text:
    """No more lines than the screen has, and none that is longer than it is wide.

    Lower down stands what can be missed: a low screen cuts it off.
    """
    whole, lanes = _whole_bars(progress, now), _lane_bars(progress, now)
    bars = list(_aligned([*whole, *lanes], screen))
    indent = min(max(cell_len(bar.name) for bar in (*whole, *lanes)) + len(_GAP), screen.width // 4)
    lines = [*_title(progress, now, screen.width), *chain.from_iterable(bars[: len(whole)])]
    lines += _packed(money_words(progress), screen.width, indent, "bold")
    lines += _packed(ended_words(progress), screen.width, indent, "red")
    for (name, lane), bar in zip(progress.lanes.items(), bars[len(whole) :], strict=True):
        lines += [*bar, *_lane_lines(lane, now.lanes[name], local, screen.width, indent)]
    return _LINE_END.join(lines[: screen.height])


def up_over_wrapped(drawn: Text, width: int) -> Control:
    """A terminal that has become narrower has broken lines in two: erases the lines that rich does not know of.

    Rich goes up as many lines as it has drawn. Of 11 two are now broken: it would stop two lines below the top.
    """
    more = sum(max(0, cell_len(line) - 1) // width for line in drawn.plain.splitlines())
    return Control(*((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)) * more)


def _title(progress: Progress, now: Speed, width: int) -> list[Text]:
    simulated = ["SIMULATED"] if progress.simulated else []
    before = [f"{count(progress.done_before)} done before"] if progress.done_before else []
    phrases = [*simulated, clock(progress.elapsed_s), left_words(progress, now.eta_s), *before]
    return _packed(phrases, width, 0, "" if progress.stops_in_s() is None else "bold yellow")


def _lane_lines(lane: LaneProgress, now: LaneSpeed, local: datetime, width: int, indent: int) -> list[Text]:
    """What the lane does, what it uses, and the last error where what it does is not about that."""
    state, in_flight = lane.state(), lane.in_flight()
    out = [f"{count(in_flight)} in flight"] if in_flight else []
    phrases = [one_line(lane_words(state, local)), *out, *use_words(lane, now)]
    lines = _packed(phrases, width, indent, _STYLES[state.doing])
    if lane.last_error is not None and state.doing != "away":
        lines += _packed([f"last error: {brief(lane.last_error)}"], width, indent, "dim red")
    return lines


def _whole_bars(progress: Progress, now: Speed) -> list[_Bar]:
    bars = [_Bar(_WHOLE, progress.done, progress.rows, (rows_words(progress), speed_words(progress, now)))]
    if (pilot := progress.pilot()) is not None:
        bars.append(_Bar("pilot", pilot.done, pilot.wanted or None, (pilot_rows_words(pilot), "")))
    return bars


def _lane_bars(progress: Progress, now: Speed) -> list[_Bar]:
    return [
        _Bar(
            plain(name), lane.settled, lane.rows, (lane_rows_words(lane), lane_speed_words(lane, now.lanes[name]))
        )
        for name, lane in progress.lanes.items()
    ]


def _aligned(bars: Sequence[_Bar], screen: Screen) -> Iterator[list[Text]]:
    """The lines of each, with their figures in columns; without bars where these would be too short.

    Where not even the figures fit, these are broken as all phrases are.
    """
    names = max(cell_len(bar.name) for bar in bars)
    percents = len("100 %") if any(bar.percent for bar in bars) else 0
    counts = max(len(bar.figures[0]) + bar.grows_by for bar in bars)
    speeds = max(len(_USUAL_SPEED), *(len(bar.figures[1]) for bar in bars))
    room = screen.width - names - percents - counts - speeds - 4 * len(_GAP)
    for bar in bars:
        if room < -len(_GAP):
            yield _packed([bar.name, bar.percent, *bar.figures], screen.width, 0, "")
            continue
        line = Text(bar.name + " " * (names - cell_len(bar.name)), "bold")
        if room >= _LEAST_BAR:
            line.append(_GAP).append_text(_drawn(bar, room, ascii_only=screen.ascii_only))
        line.append(f"{_GAP}{bar.percent:>{percents}}{_GAP}{bar.figures[0]:>{counts}}")
        line.append(f"{_GAP}{bar.figures[1]:>{speeds}}", "cyan")
        yield [line]


def _drawn(bar: _Bar, width: int, *, ascii_only: bool) -> Text:
    """Two kinds of line, so that it can be read without colours, too."""
    if bar.rows is None:
        return Text(" " * width)
    full, rest = _ASCII_LINES if ascii_only else _LINES
    filled = width * min(bar.done, bar.rows) // bar.rows if bar.rows else width
    return Text.assemble((full * filled, "green"), (rest * (width - filled), "dim"))


def _packed(phrases: Iterable[str], width: int, indent: int, style: str) -> list[Text]:
    """Phrases with commas between them, on as few lines as they need."""
    room = max(1, width - indent)
    lines: list[str] = []
    for piece in _pieces(", ".join(filter(None, phrases)), room):
        if lines and cell_len(lines[-1]) + 1 + cell_len(piece) <= room:
            lines[-1] += f" {piece}"
        else:
            lines.append(piece)
    return [Text(" " * indent + line, style) for line in lines]


def _pieces(text: str, room: int) -> Iterator[str]:
    """What is not broken: all up to a comma where that fits, else words; only a longer word is cut."""
    for part in text.replace(", ", ",\n").splitlines():
        if cell_len(part) <= room:
            yield part
            continue
        for word in part.split():
            yield from [word] if cell_len(word) <= room else chop_cells(word, room)
