"""How many rows of a directory are done, what they cost, and the tokens of those that were answered.

Counts only what the rows themselves say; prices nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

    from batchroute.types import Result

TALLIED = ("status", "route", "cost_usd", "prompt_tokens", "completion_tokens")
_OF_ALL: list[Any] = [([], "count_all"), ("cost_usd", "sum")]
_OF_COUNTED: list[Any] = [([], "count_all"), ("prompt_tokens", "sum"), ("completion_tokens", "sum")]
_UNCOUNTED = pc.field("prompt_tokens").is_null() | pc.field("completion_tokens").is_null()


@dataclass(slots=True)
class AnsweredTokens:
    """Of the ok rows of one endpoint those whose tokens are known, and the sums of these."""

    rows: int = 0
    prompt: int = 0
    completion: int = 0


@dataclass(slots=True)
class Tally:
    """Done rows of the whole directory, by how they ended, and what they cost as far as is known.

    `ok` counts by the name of the endpoint, as do `tokens`.
    """

    refused: int = 0
    cost_usd: Decimal = Decimal(0)
    ok: Counter[str] = field(default_factory=Counter)
    tokens: defaultdict[str, AnsweredTokens] = field(default_factory=lambda: defaultdict(AnsweredTokens))

    @property
    def done(self) -> int:
        return self.refused + self.ok.total()

    @staticmethod
    def sum_of(tallies: Iterable[Tally]) -> Tally:
        """Of several directories, or shards."""
        total = Tally()
        for each in tallies:
            total.refused += each.refused
            total.cost_usd += each.cost_usd
            total.ok += each.ok
            for name, tokens in each.tokens.items():
                summed = total.tokens[name]
                summed.rows += tokens.rows
                summed.prompt += tokens.prompt
                summed.completion += tokens.completion
        return total

    def add(self, result: Result) -> None:
        """One row that is done."""
        self.cost_usd += known_usd(result)
        if result.status == "refused":
            self.refused += 1
            return
        name = str(result.route)
        self.ok[name] += 1
        if result.prompt_tokens is not None and result.completion_tokens is not None:
            tokens = self.tokens[name]
            tokens.rows += 1
            tokens.prompt += result.prompt_tokens
            tokens.completion += result.completion_tokens

    def add_part(self, table: pa.Table) -> None:
        """The rows of a sealed part, by the columns `TALLIED`."""
        for group in table.group_by(["status", "route"]).aggregate(_OF_ALL).to_pylist():
            self.cost_usd += Decimal(repr(group["cost_usd_sum"] or 0.0))
            if group["status"] == "refused":
                self.refused += group["count_all"]
            else:
                self.ok[str(group["route"])] += group["count_all"]
        counted = table.select(TALLIED).filter((pc.field("status") == "ok") & ~_UNCOUNTED)
        for group in counted.group_by("route").aggregate(_OF_COUNTED).to_pylist():
            tokens = self.tokens[str(group["route"])]
            tokens.rows += group["count_all"]
            tokens.prompt += group["prompt_tokens_sum"]
            tokens.completion += group["completion_tokens_sum"]


class WithCost(Protocol):
    """What has a cost in USD; None: it is unknown."""

    @property
    def cost_usd(self) -> float | None: ...


def known_usd(priced: WithCost | None) -> Decimal:
    """What a row, or an answer, cost as far as is known; nothing where there is none."""
    return Decimal(0) if priced is None or priced.cost_usd is None else Decimal(repr(priced.cost_usd))
