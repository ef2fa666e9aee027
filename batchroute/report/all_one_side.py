"""What the answered rows would have cost had all of them gone to one endpoint: the one rule for it.

By the endpoint's price list: asked once, live, in the standard tier, nothing read from a cache or written to one.
The tokens of a row are those seen where that endpoint answered it, else its prompt as seen and the endpoint's own
mean answer; where it answered no row, those of the endpoint that did, of a row that both answered their mean.
`report` and a `plan` of a finished run say this sum, `whatif` that of the rows that change side.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from batchroute.job.rates import rates_for
from batchroute.job.tiers import STANDARD

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batchroute.job.prices import Target
    from batchroute.job.rates import Schedule
    from batchroute.report.tokens import TokenSum

# Worked example, strong at 2 USD per million tokens in and 10 out, weak at 0.2 and 1. Strong answered two rows, of
# 1,000 tokens in and 300 and 500 out; weak answered one of 3,000 in and 100 out.
#
#     mean answers    strong 400, weak 100
#     all strong      5,000 * 2 + (300 + 500 + 400) * 10 = 22,000 millionths: $0.022, not the 19,000 that weak's
#                     own 100 tokens would make of it: strong answers at greater length
#     all weak        5,000 * 0.2 + (100 + 100 + 100) * 1 = 1,300 millionths: $0.0013
#
# The prompts are not converted from one tokenizer to the other: that ratio could only be measured on different
# rows, and code or another language on one side would be taken for a difference of tokenizers.


def all_on_one_side_usd(
    target: Target, sums: Iterable[TokenSum], mean_completions: Mapping[str, float]
) -> Decimal | None:
    """The rows of `sums` at one endpoint; None where it has no price."""
    schedule = None if target.pricing is None else target.pricing.schedule(STANDARD)
    return None if schedule is None else usd_there(target.name, schedule, sums, mean_completions.get(target.name))


def usd_there(name: str, schedule: Schedule, sums: Iterable[TokenSum], mean_completion: float | None) -> Decimal:
    """The same at any price of the endpoint `name`."""
    return sum((_usd(name, schedule, each, mean_completion) for each in sums), Decimal(0))


def _usd(name: str, schedule: Schedule, rows: TokenSum, mean_completion: float | None) -> Decimal:
    if mean_completion is None and rows.is_twice:
        completion = rows.completion // 2
    elif mean_completion is None or (rows.route == name and not rows.is_twice):
        completion = rows.completion
    else:
        completion = round(rows.rows * mean_completion)
    return rates_for(schedule, rows.longest_prompt).usd(rows.prompt, 0, completion, rows.rows)
