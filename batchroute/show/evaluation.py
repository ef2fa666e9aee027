"""An evaluation on a terminal: models, routers, domains, what they buy, the verdict; within 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from batchroute.learn.evaluate.figures import CHANCE, is_control, offer_words
from batchroute.show import terms
from batchroute.show.tables import add_row, blocks, table
from batchroute.show.words import count, digits, interval, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType
    from rich.table import Table

    from batchroute.learn.evaluate.figures import Evaluation
    from batchroute.quality.recovered import Recovered

ROUTERS_ABREAST = 4
_HEADING_CHARS = 14


def render_evaluation(evaluation: Evaluation) -> RenderableType:
    """All of an evaluation."""
    parts: list[RenderableType] = [_models(evaluation), _routers(evaluation), Text(terms.APGR, style="dim")]
    if len(evaluation.domains) > 1:
        parts += _domains(evaluation)
    if evaluation.offers:
        lines = [offer_words(offer, plain(evaluation.strong_model)) for offer in evaluation.offers]
        parts.append(_prose("\n".join((*lines, f"({evaluation.prices})"))))
    parts.append(_prose(f"Verdict: {evaluation.verdict}", style="bold"))
    return blocks(parts)


def _prose(words: str, style: str = "") -> Text:
    # A line must not end between a number and its percent sign.
    return Text(words.replace(" %", "\N{NO-BREAK SPACE}%"), style=style)


def _models(evaluation: Evaluation) -> Table:
    models = table(f"{count(evaluation.rows)} labelled prompts", "mean quality")
    add_row(models, f"all strong  {plain(evaluation.strong_model)}", digits(evaluation.strong, 4))
    add_row(models, f"all weak  {plain(evaluation.weak_model)}", digits(evaluation.weak, 4))
    add_row(models, "difference", digits(evaluation.strong - evaluation.weak, 4))
    add_row(models, "  95 % interval", interval(evaluation.gap_ci))
    return models


def _routers(evaluation: Evaluation) -> Table:
    """APGR with its interval and on RouteLLM's grid, CPT in percent of strong calls, area under the curve."""
    routers = table("router", "APGR", "95 % interval", "APGR10", "CPT20", "CPT50", "CPT80", "AUC")
    for name, figures in evaluation.routers.items():
        apgr, apgr10, auc = digits(figures.apgr, 3), digits(figures.apgr10, 3), digits(figures.auc, 4)
        calls = (digits(percent, 1) for percent in (figures.cpt20, figures.cpt50, figures.cpt80))
        cells = (apgr, interval(figures.apgr_ci), apgr10, *calls, auc)
        add_row(routers, plain(name), *cells, bold=not is_control(name))
    return routers


def _domains(evaluation: Evaluation) -> Iterator[RenderableType]:
    names = [name for name in evaluation.routers if name not in {"random", "oracle"}]
    for start in range(0, len(names), ROUTERS_ABREAST):
        yield _domain_table(evaluation, names[start : start + ROUTERS_ABREAST])
    legend = "APGR by domain; + above and ! below chance, as far as its 95 % interval tells"
    yield Text(legend, style="dim")


def _domain_table(evaluation: Evaluation, names: Sequence[str]) -> Table:
    domains = table("domain", "rows", "strong", "weak", *(plain(name)[:_HEADING_CHARS] for name in names))
    for domain, (rows, *quality) in evaluation.domains.items():
        marks = [_marked(evaluation.routers[name].domains[domain]) for name in names]
        add_row(domains, plain(domain), count(rows), *(digits(mean, 3) for mean in quality), *marks)
    return domains


def _marked(figures: Recovered) -> str:
    low, high = figures.apgr_ci or (CHANCE, CHANCE)
    mark = "+" if low > CHANCE else "!" if high < CHANCE else " "
    return f"{digits(figures.apgr, 3)}{mark}"
