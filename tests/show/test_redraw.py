"""A frame drawn in place of another: nothing of the old one is left, also where the terminal broke its lines."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.live import Live
from rich.text import Text

from batchroute.show.frame import up_over_wrapped
from terminal import Screen

ABOVE = "what stood above"


@pytest.mark.parametrize("drawn", [[80], [30, 80, 10, 79], [41, 40, 80, 0, 21, 20], [80, 80, 80, 80, 80]])
@pytest.mark.parametrize("width", [80, 79, 41, 40, 20])
def test_a_terminal_that_becomes_narrower_keeps_nothing_of_the_old_frame(drawn: list[int], width: int) -> None:
    written = io.StringIO()
    console = Console(width=80, height=50, file=written, force_terminal=True)
    old = Text("\n".join(["x" * cells for cells in drawn] + [""]), no_wrap=True)
    screen = Screen(80, 50)

    def show() -> None:
        screen.write(written.getvalue().replace("\n", "\r\n"))  # as a terminal does by itself
        written.seek(0)
        written.truncate()

    console.print(ABOVE)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        live.update(old, refresh=True)
        show()
        assert [len(line) for line in screen.lines] == [len(ABOVE), *drawn, 0]
        screen.narrowed(width)
        console.width = width
        console.control(up_over_wrapped(old, width))
        live.update(Text("new\n"), refresh=True)
        show()
        assert [line for line in screen.lines if line] == [ABOVE, "new"]
    show()
    assert [line for line in screen.lines if line] == [ABOVE]
