"""A provider's bill beside that of runs, on a terminal, within 80 columns. Computes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from batchroute.show import terms
from batchroute.show.tables import add_row, blocks, table, title, warnings
from batchroute.show.words import count, money, one_line, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from batchroute.report.invoice.causes import Cause
    from batchroute.report.invoice.figures import Line, Reconciliation


def render_reconciliation(found: Reconciliation) -> RenderableType:
    """All lines; those that differ once more, each with what may have made the difference."""
    made_up = warnings([terms.SIMULATED]) if found.simulated else []
    parts: list[RenderableType] = [_title(found), *made_up, _lines(found)]
    differing = [line for line in found.lines if not line.agrees]
    parts += [_explained(f"{_name(line)}  {_signed(line.difference_usd)}", line.causes) for line in differing]
    if found.causes:
        parts.append(_explained(f"all of them  {_signed(found.difference_usd)}", found.causes))
    if notes := list(_notes(found)):
        parts.append(Text("\n".join(notes), style="dim"))
    return blocks(parts)


def _title(found: Reconciliation) -> Text:
    differing = sum(not line.agrees for line in found.lines)
    lines = f"{count(len(found.lines))} lines, {count(differing)} of them differ"
    runs = plain(found.runs[0]) if len(found.runs) == 1 else f"{count(len(found.runs))} runs"
    state = "agrees" if found.agrees else "differs"
    return title(f"{runs} beside {plain(found.invoice)}", state, f"{lines} by more than {found.within_usd:g} USD")


def _lines(found: Reconciliation) -> Table:
    lines = table("day (UTC) and model", "theirs, USD", "ours, USD", "difference", "")
    for line in found.lines:
        tokens = _tokens(line.theirs_tokens, line.ours_tokens) if found.theirs_usd is None else ""
        usd = money(line.theirs_usd), money(line.ours_usd), _signed(line.difference_usd)
        add_row(lines, _name(line), *usd, tokens or ("" if line.agrees else "differs"))
    total = found.theirs_usd, found.ours_usd
    add_row(lines, "total", *map(money, total), _signed(found.difference_usd), "", bold=True)
    return lines


def _tokens(theirs: int | None, ours: int | None) -> str:
    return f"{count(theirs)} / {count(ours)} tokens"


def _name(line: Line) -> str:
    return f"{line.day or 'all days  '}  {plain(line.model)}"


def _explained(heading: str, causes: Sequence[Cause]) -> Group:
    """The causes with their amounts; that there is none is said, too."""
    named = Table.grid(padding=(0, 2, 0, 0))
    named.add_column(justify="right", min_width=10)
    named.add_column(overflow="fold")
    for cause in causes:
        add_row(named, _signed(cause.usd), one_line(cause.words))
    if not causes:
        add_row(named, "", "no cause that the files could tell")
    return Group(Text(heading, style="bold"), named)


def _signed(usd: float | None) -> str:
    if usd is None:
        return "unknown"
    sign = "" if not round(usd, 4) else "+" if usd > 0 else "-"
    return f"{sign}{money(abs(usd))}"


def _notes(found: Reconciliation) -> Iterator[str]:
    read = ", ".join(f"{key} from {plain(name)!r}" for key, name in found.columns.items())
    yield f"read: {read}"
    yield "difference: theirs less ours; causes may hold together, in part, or not at all"
    if found.other_models_usd:
        yield f"on the invoice, of models of none of the runs: {money(found.other_models_usd)}"
    if found.other_days_usd:
        yield f"on the invoice, of other days than the runs': {money(found.other_days_usd)}"
    for model, usd in found.not_invoiced_usd.items():
        yield f"not on the invoice, as it has no model of that provider: {plain(model)} {money(usd)}"
