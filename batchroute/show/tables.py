"""The look of everything on a terminal: one kind of table, blocks one under the other, warnings in yellow.

Knows rich and nothing of runs. Cells are never read as markup: names of models and routers come from outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType


def table(*headings: str, framed: bool = False, folded: bool = False) -> Table:
    """A table whose first column is words and whose others are figures; `folded` headings may take more lines."""
    made = Table() if framed else Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    made.add_column(Text(headings[0]), overflow="fold")
    for heading in headings[1:]:
        made.add_column(
            Text(heading), justify="right", no_wrap=not folded, overflow="fold" if folded else "ellipsis"
        )
    return made


def add_row(to: Table, *cells: str, bold: bool = False) -> None:
    # As a plain string "[/red]" in the name of a model would be markup, and an error that ends the command.
    to.add_row(*map(Text, cells), style="bold" if bold else "")


def blocks(renderables: Iterable[RenderableType]) -> Group:
    """One under the other, an empty line below each."""
    return Group(*(Padding(block, (0, 0, 1, 0)) for block in renderables))


def title(name: str, state: str, rest: str) -> Text:
    return Text.assemble((name, "bold"), f"  {state}\n{rest}")


def warnings(lines: Iterable[str]) -> list[Text]:
    return [Text(line, style="bold yellow") for line in lines]
