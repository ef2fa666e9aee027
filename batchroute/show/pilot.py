"""What a pilot found on a terminal: the sentence, what each share keeps, how routers rank, what it cost.

Computes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from batchroute.show import terms, words
from batchroute.show.quality import ROUTERS, cost_words, details_of, sentence_of, target_words, watch_words
from batchroute.show.shares import SharesTable
from batchroute.show.tables import add_row, blocks, table, title, warnings
from batchroute.show.words import digits, interval, plain, rows_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType
    from rich.table import Table

    from batchroute.report.figures import Report
    from batchroute.report.quality import Quality


def render_pilot(report: Report) -> RenderableType:
    """All of a pilot; `report` is that of its run directory."""
    quality = report.quality
    parts: list[RenderableType] = [
        title(
            plain(report.name), "pilot", "" if quality is None else f"{rows_of(quality.asked)} asked of both sides"
        ),
        *warnings(words.warnings_of(report)),
    ]
    if quality is None:
        parts.append(Text("The pilot is not at its end: run the command again to go on."))
    else:
        parts += quality_parts(quality)
        if quality.routers:
            parts.append(Group(_routers(quality), Text(terms.PILOT_APGR, style="dim")))
    parts.append(Text(cost_words(report)))
    return blocks(parts)


def quality_parts(quality: Quality, *, few: bool = False) -> Iterator[RenderableType]:
    """The sentence with what it rests on, then the shares: all of them, or a `few`."""
    said = [Text(sentence_of(quality), style="bold")]
    said += [Text(line, style="dim") for line in (*details_of(quality), *watch_words(quality))]
    yield Group(*said)
    if quality.curves.get(quality.router):
        notes = [Text(line, style="dim") for line in target_words(quality)]
        yield Group(SharesTable(quality, few), *notes)


def _routers(quality: Quality) -> Table:
    """APGR with its interval; the one that routes is marked."""
    ranks = table("router", "APGR", "95 % interval", "")
    for name, rank in quality.routers.items():
        routes = name == quality.router
        cells = digits(rank.apgr, 3), interval(rank.apgr_ci), "routes" if routes else ""
        add_row(ranks, ROUTERS.get(name, plain(name)), *cells, bold=routes)
    return ranks
