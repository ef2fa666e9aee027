"""A plan on a terminal: the bill to come, what else it could be, and what was assumed.

Computes nothing but shares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from rich.console import Group
from rich.text import Text

from batchroute.show import terms
from batchroute.show.pilot import quality_parts
from batchroute.show.tables import add_row, blocks, table, title, warnings
from batchroute.show.words import count, duration, money, one_line, percent, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType
    from rich.table import Table

    from batchroute.job.spec import Job
    from batchroute.report.quality import Quality
    from batchroute.run.plan import Plan


UNDECIDED = "the pilot decides how many rows go strong: shown is half of them, between all weak and all strong"


def render_plan(plan: Plan) -> RenderableType:
    """All of a plan, within 80 columns where models have short names."""
    lines = warnings([*warnings_of(plan), *_simulated_words(plan)])
    parts: list[RenderableType] = [*_pilot(plan), _bill(plan), _sums(plan), _frontier(plan), _assumed(plan)]
    return blocks([_title(plan), *lines, *parts])


def _title(plan: Plan) -> Text:
    rows = [f"{count(plan.rows)} rows"]
    rows += [f"{count(plan.refused)} unusable"] if plan.refused else []
    rows += [f"{count(plan.too_long)} too long"] if plan.too_long else []
    state = "a plan of a run that is over" if plan.is_over else "a plan: nothing was sent"
    return title(plain(plan.name), state, ", ".join(rows))


def warnings_of(plan: Plan) -> list[str]:
    """A line for each endpoint whose price is unknown, and one where ties send more strong than was asked for."""
    tied = [f"{plan.tie.words}."] if plan.tie is not None else []
    return tied + [
        f"No price is known for {plain(endpoint.model)}: "
        f"set endpoints.{endpoint.name}.price to know what this costs."
        for endpoint in plan.endpoints
        if not endpoint.price_known
    ]


def _simulated_words(plan: Plan) -> list[str]:
    made_up = [endpoint.name for endpoint in plan.endpoints if endpoint.simulated]
    return [f"SIMULATED: {' and '.join(made_up)}; no money will be spent there."] if made_up else []


def _bill(plan: Plan) -> Table:
    bill = table("", "rows", "share", "prompt tok", "output tok", "USD", "time")
    routed = sum(endpoint.rows for endpoint in plan.endpoints)
    for endpoint in plan.endpoints:
        add_row(
            bill,
            f"{endpoint.name}  {plain(endpoint.model)}",
            count(endpoint.rows),
            percent(endpoint.rows / routed if routed else None),
            count(round(endpoint.prompt_tokens)),
            count(round(endpoint.completion_tokens)),
            money(None if endpoint.cost_usd is None else endpoint.cost_usd.mid),
            duration(endpoint.time_s),
        )
    if (pilot := plan.pilot) is not None:
        usd = money(None if pilot.total_usd is None else pilot.total_usd.mid)
        add_row(bill, "pilot, beside these", count(pilot.rows), "", "", "", usd, duration(pilot.time_s))
    total = money(None if plan.cost_usd is None else plan.cost_usd.mid)
    add_row(bill, "total", count(routed), "", "", "", total, duration(plan.time_s), bold=True)
    return bill


def _pilot(plan: Plan) -> list[RenderableType]:
    """What the pilot found, or what it may cost at most."""
    pilot = plan.pilot
    if pilot is None:
        return []
    if pilot.found is not None:
        return list(quality_parts(_with_costs(plan, pilot.found), few=True))
    most = f"at most {money(pilot.most_usd)} USD" if pilot.most_usd is not None else "without an amount at most"
    return [Text(f"pilot: {count(pilot.rows)} rows are asked on both sides first, {most} beside the rows")]


def _with_costs(plan: Plan, found: Quality) -> Quality:
    """What was found, at the costs that are planned now."""
    cost, pilot_usd = plan.cost_usd, None if plan.pilot is None else plan.pilot.total_usd
    share = cost.mid / plan.all_strong_usd if cost is not None and plan.all_strong_usd else None
    return msgspec.structs.replace(
        found, cost_share=share, pilot_cost_usd=None if pilot_usd is None else pilot_usd.mid
    )


def _sums(plan: Plan) -> Group:
    sums = table("", "USD", "")
    if plan.cost_usd is not None and not plan.is_over:
        add_row(sums, "between", money(plan.cost_usd.low), f"and {money(plan.cost_usd.high)}")
    add_row(sums, "all strong would cost", money(plan.all_strong_usd))
    add_row(sums, "all weak would cost", money(plan.all_weak_usd))
    saved = plan.savings_usd
    share = percent(saved / plan.all_strong_usd) if saved is not None and plan.all_strong_usd else ""
    add_row(sums, "saved against all strong", money(saved), share, bold=True)
    notes = [Text(terms.ALL_ONE_SIDE, style="dim")] if _has_two_amounts(plan) else []
    return Group(sums, *notes)


def _has_two_amounts(plan: Plan) -> bool:
    """Whether all rows on one side stand there twice, with two amounts: by the price list, and as the job asks."""
    if not plan.frontier:
        return False
    if plan.pilot is not None:
        return False  # its cost is a part of the one and not of the other
    ends = (plan.frontier[-1].cost_usd, plan.all_strong_usd), (plan.frontier[0].cost_usd, plan.all_weak_usd)
    return any(money(here) != money(listed) for here, listed in ends)


def _frontier(plan: Plan) -> Group:
    points = table("asked", "strong", "threshold", "USD", "wins kept", "time")
    for point in plan.frontier:
        add_row(
            points,
            percent(point.strong_fraction),
            percent(point.sent_fraction),
            f"{point.threshold:.6f}",
            money(point.cost_usd),
            percent(point.win_mass_kept),
            duration(point.time_s),
        )
    here = UNDECIDED if plan.threshold is None else f"threshold {plan.threshold!r}, strong from here"
    kept = "" if plan.win_mass_kept is None else f"; {percent(plan.win_mass_kept)} of the expected wins are kept"
    notes = [
        terms.STRONG_SHARE.line,
        terms.EXPECTED_WINS.line,
        *([terms.BUILTIN_ROUTER] if plan.builtin_router else []),
    ]
    below = Text("\n".join(notes), style="dim")
    return Group(Text(here + kept, style="bold"), Text("at other shares:"), points, below)


def _assumed(plan: Plan) -> Text:
    lines = [
        f"  {one_line(f'{endpoint.name} {words}')}" for endpoint in plan.endpoints for words in endpoint.assumed
    ]
    return Text("\n".join(["assumed", *lines]), style="dim")


def beyond_the_plan(job: Job, planned: Plan) -> Iterator[str]:
    """What will make the bill differ from the plan."""
    if planned.is_over:
        return
    if job.input.reuse:
        yield "rows that the runs of input.reuse have answered cost nothing; the plan does not take them off"
    limit, cost = job.limits.max_cost_usd, planned.cost_usd
    if limit is not None and cost is not None and cost.high > limit:
        ends = "stops there" if job.limits.on_budget == "stop" else "moves the last rows to the weak side"
        word = "is" if cost.mid > limit else "may be"
        yield f"the cost {word} above limits.max_cost_usd = {limit}: the job then {ends}"
