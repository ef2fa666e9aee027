"""A plan on a terminal: the bill to come, what else it could be, and what was assumed.

Knows rich and the figures; computes nothing but shares. Model names are stripped of control characters and never
read as markup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from batchroute.cli.show.words import UNKNOWN, count, duration, money, percent, plain

if TYPE_CHECKING:
    from rich.console import RenderableType

    from batchroute.run.plan import Plan


def render_plan(plan: Plan) -> RenderableType:
    """All of a plan, within 80 columns where models have short names."""
    blocks: list[RenderableType] = [_title(plan), *_warnings(plan), _bill(plan), _sums(plan), _frontier(plan)]
    blocks.append(_assumed(plan))
    return Group(*(Padding(block, (0, 0, 1, 0)) for block in blocks))


def _title(plan: Plan) -> Text:
    title = Text.assemble((plain(plan.name), "bold"), "  a plan: nothing was sent\n")
    refused = [f"{count(plan.refused)} unusable"] if plan.refused else []
    too_long = [f"{count(plan.too_long)} too long"] if plan.too_long else []
    return title.append(", ".join([f"{count(plan.rows)} rows", *refused, *too_long]))


def unpriced_words(plan: Plan) -> list[str]:
    """A line for each endpoint whose price is unknown."""
    return [
        f"No price is known for {plain(endpoint.model)}: "
        f"set endpoints.{endpoint.name}.price to know what this costs."
        for endpoint in plan.endpoints
        if not endpoint.price_known
    ]


def _warnings(plan: Plan) -> list[Text]:
    lines = unpriced_words(plan)
    made_up = [endpoint.name for endpoint in plan.endpoints if endpoint.simulated]
    if made_up:
        lines.append(f"SIMULATED: {' and '.join(made_up)}; no money will be spent there.")
    return [Text(line, style="bold yellow") for line in lines]


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(columns[0], overflow="fold")
    for column in columns[1:]:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _bill(plan: Plan) -> Table:
    table = _table("", "rows", "share", "prompt tok", "output tok", "USD", "time")
    routed = sum(endpoint.rows for endpoint in plan.endpoints)
    for endpoint in plan.endpoints:
        table.add_row(
            Text(f"{endpoint.name}  {plain(endpoint.model)}"),
            count(endpoint.rows),
            percent(endpoint.rows / routed if routed else None),
            count(round(endpoint.prompt_tokens)),
            count(round(endpoint.completion_tokens)),
            money(None if endpoint.cost_usd is None else endpoint.cost_usd.mid),
            duration(endpoint.time_s),
        )
    total = money(None if plan.cost_usd is None else plan.cost_usd.mid)
    table.add_section()
    table.add_row("total", count(routed), "", "", "", total, duration(plan.time_s), style="bold")
    return table


def _sums(plan: Plan) -> Table:
    table = _table("", "USD", "")
    if plan.cost_usd is not None:
        table.add_row("between", money(plan.cost_usd.low), f"and {money(plan.cost_usd.high)}")
    table.add_row("all strong would cost", money(plan.all_strong_usd), "")
    table.add_row("all weak would cost", money(plan.all_weak_usd), "")
    saved = plan.savings_usd
    share = saved / plan.all_strong_usd if saved is not None and plan.all_strong_usd else None
    table.add_row("saved against all strong", money(saved), "" if share is None else percent(share), style="bold")
    return table


def _frontier(plan: Plan) -> Group:
    table = _table("strong", "threshold", "USD", "wins kept", "time")
    for point in plan.frontier:
        table.add_row(
            percent(point.strong_fraction),
            f"{point.threshold:.6f}",
            money(point.cost_usd),
            percent(point.win_mass_kept),
            duration(point.time_s),
        )
    here = f"threshold {plan.threshold!r}, strong from here"
    kept = "" if plan.win_mass_kept is None else f"; {percent(plan.win_mass_kept)} of the expected wins are kept"
    return Group(Text(here + kept, style="bold"), Text("at other shares:"), table)


def _assumed(plan: Plan) -> Text:
    lines = [f"{endpoint.name} {words}" for endpoint in plan.endpoints for words in endpoint.assumed]
    return Text("\n".join(["assumed", *(f"  {plain_line(line)}" for line in lines)]), style="dim")


def plain_line(line: str) -> str:
    """Names of models and runs come from outside."""
    return "".join(char if char.isprintable() else UNKNOWN[0] for char in line)
