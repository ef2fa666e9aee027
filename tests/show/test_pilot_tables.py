"""The tables of a pilot on terminals of every size: what stands there, and that it fits."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from batchroute.show.pilot import quality_parts
from batchroute.show.shares import share_lines
from batchroute.show.tables import blocks
from qualities import EACH, ROUTE, SHARES, TIED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchroute.report.quality import Quality


def drawn(
    quality: Quality, width: int, height: int = 60, *, few: bool = False, encoding: str = "utf-8"
) -> list[str]:
    """The lines as a terminal of that size shows them."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(
        width=width, height=height, file=file, force_terminal=True, record=True, legacy_windows=False
    )
    console.print(blocks(quality_parts(quality, few=few)))
    return console.export_text().splitlines()


def table_of(lines: Sequence[str]) -> list[str]:
    """The rows of the shares, from 100 % on."""
    return [line.rstrip() for line in lines if re.match(r"[> ] +\d+\.\d %", line)]


def test_all_that_was_measured_stands_on_a_wide_terminal() -> None:
    lines = drawn(ROUTE, 120)
    heading = next(line for line in lines if "interval" in line and "cost" in line).split()
    assert heading == ["strong", "kept", "interval", "cost", "target", "length", "random", "85", "%", "105", "%"]
    rows = table_of(lines)
    assert len(rows) == len(SHARES)
    assert rows[12].startswith("   40.0 %   96.3 %    93.2 to 99.4 %   46 %      shown   94.8 %   94.0 %")
    assert rows[13].startswith(">  35.0 %   95.9 %    92.7 to 99.1 %   42 %     chosen   94.3 %   93.5 %")
    assert rows[14].startswith("   30.0 %   95.5 %    92.1 to 98.8 %   37 %  not shown ")
    assert "shown" not in rows[15]


def test_the_drawing_has_one_scale() -> None:
    """The target stands in one column, the estimate where it is, the interval around it."""
    rows = table_of(drawn(ROUTE, 120))
    uprights = {row.index("│") for row in rows if "│" in row}
    assert len(uprights) == 1
    points = [row.index("●") for row in rows]
    assert points == sorted(points, reverse=True)
    assert all(re.search("[─│]●[─│]", row) for row in rows[3:])


def test_a_low_terminal_shows_the_shares_that_say_most() -> None:
    shares = [row[1:].split(" %")[0].strip() for row in table_of(drawn(ROUTE, 120, 24))]
    assert shares == ["100.0", "75.0", "50.0", "40.0", "35.0", "30.0", "25.0", "0.0"]
    assert table_of(drawn(ROUTE, 120, 60, few=True)) == table_of(drawn(ROUTE, 120, 24))


def test_what_has_no_room_is_left_out_and_nothing_is_cut() -> None:
    for width in range(40, 131, 9):
        lines = drawn(ROUTE, width)
        assert all(cell_len(line.rstrip()) <= width for line in lines)
        assert "…" not in "".join(lines)
        assert all("chosen" in row for row in table_of(lines) if row.startswith(">"))


def test_a_terminal_of_ascii_alone_is_drawn_with_it() -> None:
    assert "".join(drawn(ROUTE, 120, encoding="ascii")).isascii()


def test_shares_that_ties_have_made_one_stand_there_once() -> None:
    lines = share_lines(TIED)
    assert [(line.point.share, line.target) for line in lines] == [(1.0, "chosen"), (0.0, "below")]


@given(name=st.sampled_from(list(EACH)), width=st.integers(40, 130), height=st.integers(10, 80), few=st.booleans())
def test_it_fits_whatever_was_found(name: str, width: int, height: int, few: bool) -> None:
    lines = drawn(EACH[name], width, height, few=few)
    assert all(cell_len(line.rstrip()) <= width for line in lines)
    assert not re.search(r"None|nan", "".join(lines))
