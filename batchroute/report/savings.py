"""What was saved against all rows strong, by cause.

Between "all strong" and the bill lies a chain of changes, each of which makes a difference:

    all strong, by the price list                   }
    each row on its own side, the router's cost     }  routing
    answers of other runs taken over                   reuse
    in the tier of service that answered               delivery
    prompts read from a cache and written to one       caching
    the bill

Reuse, delivery and caching are added up from the tokens by the price list; routing is the rest, so that the four
add up to the whole by construction. What else makes the bill another than the price list says stands in it: the
router's embeddings, rows without an answer, attempts that were billed and asked again, a bill in the provider's
own words. Any of the four may be negative: a cache that was written and hardly read costs more than it saves.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from batchroute.job.rates import rates_for
from batchroute.job.tiers import AUTO, STANDARD, tier_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchroute.job.prices import Target
    from batchroute.report.tokens import TokenSum

# Worked example. Strong costs 2 USD per million tokens in, 0.2 read from a cache, 2.5 written to one, 10 out, half
# of each in flex; weak costs 0.2 and 1 out. Four rows of 1,000 tokens in and 100 out, in millionths of a dollar;
# the router took 50.
#
#     row  answered by                       bill    strong by the list: 1,000 * 2 + 100 * 10 = 3,000 each
#     a    strong, flex                     1,500    delivery   3,000 - 1,500 = 1,500
#     b    strong, 800 read from the cache  1,560    caching    800 * (2 - 0.2) = 1,440
#     c    strong, 900 written to it        3,450    caching    900 * (2 - 2.5) = -450
#     d    weak, taken over from a run          0    reuse      1,000 * 0.2 + 100 * 1 = 300
#     router                                   50
#
#     all strong 12,000, the bill 6,560: saved 5,440 = delivery 1,500 + caching 990 + reuse 300 + routing 2,650.
#     Routing is what row d saves by going weak, 3,000 - 300 = 2,700, less the router's 50.


@dataclass(frozen=True, slots=True)
class Savings:
    """USD by cause; None where a price that it takes is unknown."""

    routing: Decimal | None
    reuse: Decimal | None
    delivery: Decimal | None
    caching: Decimal | None


def savings_by_cause(
    saved_usd: Decimal | None, targets: Mapping[str, Target], sums: Sequence[TokenSum]
) -> Savings:
    """The causes of `saved_usd`, which is what all strong would have cost less the bill."""
    if saved_usd is None:
        return Savings(None, None, None, None)
    # Of rows that both sides answered nothing tells which tokens are whose: all that they save or cost is routing.
    listed = [each for each in sums if not each.is_twice]
    causes = [_causes(targets[each.route], each) for each in listed]
    if any(cause is None for cause in causes):
        return Savings(None, None, None, None)
    reuse, delivery, caching = (
        sum((cause[of] for cause in causes if cause is not None), Decimal(0)) for of in range(3)
    )
    return Savings(saved_usd - reuse - delivery - caching, reuse, delivery, caching)


def _causes(target: Target, rows: TokenSum) -> tuple[Decimal, Decimal, Decimal] | None:
    """What the rows save by reuse, by delivery and by caching; None where a price is unknown."""
    tier = tier_of(rows.service_tier)
    standard = None if target.pricing is None else target.pricing.schedule(STANDARD)
    answered = None if target.pricing is None else target.pricing.schedule(None if tier == AUTO else tier)
    if standard is None or answered is None:
        return None
    listed, rates = (rates_for(schedule, rows.longest_prompt) for schedule in (standard, answered))
    list_usd = listed.usd(rows.prompt, 0, rows.completion, rows.rows)
    if rows.is_reused:
        return list_usd, Decimal(0), Decimal(0)
    live_usd = rates.usd(rows.prompt, 0, rows.completion, rows.rows)
    true_usd = rates.usd(rows.prompt, rows.cached, rows.completion, rows.rows, written=rows.written)
    return Decimal(0), list_usd - live_usd, live_usd - true_usd
