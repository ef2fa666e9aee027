"""An evaluation on a terminal: models, routers, domains, what they buy, the verdict; within 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from batchroute.cli.show.words import count, plain
from batchroute.learn.evaluate.rivals import BASELINES
from batchroute.learn.evaluate.verdict import CHANCE, offer_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from batchroute.learn.evaluate.figures import DomainFigures, Evaluation, RouterFigures

UNKNOWN = "-"
ROUTERS_ABREAST = 4


def render_evaluation(evaluation: Evaluation) -> RenderableType:
    """All of an evaluation."""
    blocks: list[RenderableType] = [_models(evaluation), _routers(evaluation)]
    if len(evaluation.domains) > 1:
        blocks += _domains(evaluation)
    if evaluation.offers:
        lines = [offer_words(offer, plain(evaluation.strong_model)) for offer in evaluation.offers]
        blocks.append(_prose("\n".join((*lines, f"({evaluation.prices})"))))
    blocks.append(_prose(f"Verdict: {evaluation.verdict}", style="bold"))
    return Group(*(Padding(block, (0, 0, 1, 0)) for block in blocks))


def _prose(words: str, style: str = "") -> Text:
    return Text(words.replace(" %", "\N{NO-BREAK SPACE}%"), style=style)


def _table(first: str, *columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True, overflow="ellipsis", max_width=14)
    return table


def _models(evaluation: Evaluation) -> Table:
    table = _table(f"{count(evaluation.rows)} labelled prompts", "mean quality")
    table.add_row(Text(f"all strong  {plain(evaluation.strong_model)}"), f"{evaluation.strong:.4f}")
    table.add_row(Text(f"all weak  {plain(evaluation.weak_model)}"), f"{evaluation.weak:.4f}")
    low, high = evaluation.gap_ci
    table.add_row("difference", f"{evaluation.strong - evaluation.weak:.4f}")
    table.add_row("  95 % interval", f"{low:.3f} to {high:.3f}")
    return table


def _routers(evaluation: Evaluation) -> Table:
    """APGR with its interval and on RouteLLM's grid, CPT in percent of strong calls, area under the curve."""
    table = _table("router", "APGR", "95 % interval", "APGR10", "CPT20", "CPT50", "CPT80", "AUC")
    for name, figures in evaluation.routers.items():
        style = "" if name in BASELINES else "bold"
        table.add_row(Text(plain(name)), *_cells(figures), style=style)
    return table


def _cells(figures: RouterFigures) -> list[str]:
    ci = figures.apgr_ci
    return [
        _number(figures.apgr, 3),
        UNKNOWN if ci is None else f"{ci[0]:.3f} to {ci[1]:.3f}",
        _number(figures.apgr10, 3),
        *(_number(value, 1) for value in (figures.cpt20, figures.cpt50, figures.cpt80)),
        f"{figures.auc:.4f}",
    ]


def _domains(evaluation: Evaluation) -> list[RenderableType]:
    names = [name for name in evaluation.routers if name not in {"random", "oracle"}]
    groups = [names[start : start + ROUTERS_ABREAST] for start in range(0, len(names), ROUTERS_ABREAST)]
    legend = Text("APGR by domain; + above and ! below chance, as far as its 95 % interval tells", style="dim")
    return [*(_domain_table(evaluation, group) for group in groups), legend]


def _domain_table(evaluation: Evaluation, names: Sequence[str]) -> Table:
    table = _table("domain", "rows", "strong", "weak", *(plain(name)[:14] for name in names))
    for domain, (rows, strong, weak) in evaluation.domains.items():
        cells = [_marked(evaluation.routers[name].domains[domain]) for name in names]
        table.add_row(Text(plain(domain)), count(rows), f"{strong:.3f}", f"{weak:.3f}", *cells)
    return table


def _marked(figures: DomainFigures) -> str:
    low, high = figures.apgr_ci or (CHANCE, CHANCE)
    mark = "+" if low > CHANCE else "!" if high < CHANCE else " "
    return f"{_number(figures.apgr, 3)}{mark}"


def _number(value: float | None, digits: int) -> str:
    return UNKNOWN if value is None else f"{value:.{digits}f}"
