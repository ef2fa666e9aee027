"""The one kind of table that a terminal gets."""

from __future__ import annotations

import io

from rich.console import Console

from batchroute.show.tables import add_row, table
from batchroute.show.words import interval


def test_names_are_no_markup_and_figures_are_never_cut() -> None:
    shown = table("[/router]", "[bold]95 % interval")
    add_row(shown, "a long name of a router [/x]" * 4, interval((-0.0124, 0.5331)))
    console = Console(width=60, file=io.StringIO(), record=True)
    console.print(shown)
    text = console.export_text()
    assert "[/router]" in text
    assert "[bold]95 % interval" in text
    assert text.count("[/x]") == 4
    assert "-0.012 to 0.533" in text
