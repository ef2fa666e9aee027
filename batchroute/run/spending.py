"""What a run directory has cost so far, while a run is at work on it.

What all rows would have cost at the strong endpoint is an estimate here, from the sums that the store keeps; the
true figure is the report's, which looks at each row. Knows no rows and no limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchroute.report.all_one_side import all_on_one_side_usd
from batchroute.report.tokens import TokenSum, mean_completions
from batchroute.run.progress import Money

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from decimal import Decimal

    from batchroute.job.prices import Target
    from batchroute.send.budget import Budget
    from batchroute.store.tally import AnsweredTokens, Tally


@dataclass(frozen=True, slots=True)
class DirectoryBill:
    """The money of a directory: rows of all its runs, and embeddings.

    `rows_usd` and `embeddings_usd` are what is known of these so far; a `budget` counts both, and what is
    unconfirmed.
    """

    targets: Mapping[str, Target]
    tally: Tally
    rows_usd: Callable[[], Decimal]
    embeddings_usd: Callable[[], Decimal]
    budget: Budget | None

    def now(self) -> Money:
        spent_usd = self.rows_usd() + self.embeddings_usd()
        priced = [target.pricing is not None for target in self.targets.values()]
        all_strong_usd = estimated_all_strong_usd(self.targets, self.tally) if all(priced) else None
        return Money(
            spent_usd=float(spent_usd) if any(priced) or spent_usd else None,
            unconfirmed_usd=0.0 if self.budget is None else float(self.budget.unconfirmed),
            all_strong_usd=None if all_strong_usd is None else float(all_strong_usd),
        )


def estimated_all_strong_usd(targets: Mapping[str, Target], tally: Tally) -> Decimal | None:
    """As `report/all_one_side` has it, but with one sum an endpoint, priced as prompts of the mean length are.

    That is exact unless the price changes with the length of the prompt, or rows were answered by both endpoints.
    None where nothing is answered yet, a price is unknown, or an answer came without its tokens.
    """
    sums = [_sum_of(name, tokens) for name, tokens in tally.tokens.items()]
    counted = sum(each.rows for each in sums)
    if not counted or counted < tally.ok.total():
        return None
    return all_on_one_side_usd(targets["strong"], sums, mean_completions(sums))


def _sum_of(name: str, tokens: AnsweredTokens) -> TokenSum:
    return TokenSum(
        route=name,
        service_tier=None,
        is_reused=False,
        is_twice=False,
        longest_prompt=tokens.prompt // tokens.rows,
        rows=tokens.rows,
        prompt=tokens.prompt,
        cached=0,
        written=0,
        completion=tokens.completion,
    )
