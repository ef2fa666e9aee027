"""Keeping a budget by moving rows to the weak side before it is used up.

A row goes strong as long as what is left of the budget pays for the most that it and the strong rows under way can
cost, and then for all other rows: each where it then has to go, which is the weak side wherever it may move. What
those cost is first predicted as a plan does it, then trued up by what answers really cost. Where that is too much,
a row waits as long as answers under way may change the sum; only then it moves. Rows come in input order, so those
that move are the last ones; to choose by score is the affair of the threshold (`routing.budget_usd`).

A row that demands the strong side, that is too long for the weak one, or that would cost no less there, does not
move. The hard limit itself is the affair of `budget`, and holds whatever is predicted here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchroute.job.rules import longest_output
from batchroute.route.forecast.assumptions import NANO
from batchroute.route.sides import WEAK, longest_input, route
from batchroute.send.tokens import estimate_tokens
from batchroute.store.done import DoneRows
from batchroute.store.scores import among, read_scores
from batchroute.types import SIDES, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from batchroute.job.spec import Endpoints
    from batchroute.route.forecast.assumptions import Assumptions
    from batchroute.route.sides import Routes
    from batchroute.send.budget import Budget
    from batchroute.send.request import Request
    from batchroute.store.rows import RunStore
    from batchroute.store.scores import ScoredRows, ScorePart
    from batchroute.types import Side

ENOUGH_ROWS = 20  # answers from which on they, and no longer the prediction, tell what a row costs
STANDARD_ERRORS = 2.0  # kept aside for what the mean of the answers so far does not tell
_PROBE_CHARS = 10_000
_BODY_BYTES = 1_000  # of a request beside its text, for the dearest one still to come


@dataclass(frozen=True, slots=True)
class Line:
    """What rows cost by a prediction: so much a row, so much a character, in USD."""

    per_row: float
    per_char: float

    def usd(self, rows: int, chars: int) -> float:
        return self.per_row * rows + self.per_char * chars


@dataclass(slots=True)
class Account:
    """One side's rows that are still to be paid, `rows` with `chars` in all, and what others really cost.

    `usual` and `high` are predictions; `known_rows` should have cost `predicted_usd` by the first, and cost
    `actual_usd`.
    """

    usual: Line
    high: Line
    rows: int = 0
    chars: int = 0
    known_rows: int = 0
    predicted_usd: float = 0.0
    actual_usd: float = 0.0

    def expect(self, chars: int, sign: int = 1) -> None:
        """A row more (or one less) is to be paid here."""
        self.rows += sign
        self.chars += sign * chars

    def learn(self, rows: int, chars: int, cost_usd: float) -> None:
        """So many rows really cost this."""
        self.known_rows += rows
        self.predicted_usd += self.usual.usd(rows, chars)
        self.actual_usd += cost_usd

    def ahead_usd(self, *, careful: bool) -> float:
        """What the rows still to be paid may cost; `careful`: the high prediction while few answers are known.

        Costs of answers vary about as much as they are large, as those of an exponential distribution do.
        """
        if self.rows <= 0:
            return 0.0
        if self.known_rows < ENOUGH_ROWS or not self.predicted_usd:
            return (self.high if careful else self.usual).usd(self.rows, self.chars)
        spread = STANDARD_ERRORS * math.sqrt(1 / self.rows + 1 / self.known_rows)
        truth = self.actual_usd / self.predicted_usd
        return truth * self.usual.usd(self.rows, self.chars) * (1 + spread)


class Downgrade:
    """Decides row by row, in input order, whether it may go strong, and remembers those that may not."""

    def __init__(
        self, budget: Budget, accounts: Mapping[Side, Account], longest_weak: int, largest_usd: float
    ) -> None:
        """`largest_usd`: the most that a weak row can cost; the last one, too, has to fit."""
        self._budget = budget
        self._accounts = accounts
        self._longest_weak = longest_weak
        self._largest_usd = largest_usd
        self._under_way = dict.fromkeys(SIDES, 0)
        self._strong_usd = Decimal(0)  # the most that the strong rows under way can cost
        self._moved: DoneRows | None = None

    @property
    def idle(self) -> bool:
        """Whether no answer is under way that may leave room for something else."""
        return not any(self._under_way.values())

    def admits(self, side: Side, request: Request) -> bool:
        """Whether a row may go where its score sends it; it then is under way."""
        if side == "weak":
            self._largest_usd = max(self._largest_usd, float(request.most_usd))
        elif self.may_move(request) and not self._affords(request):
            return False
        else:
            self._accounts["weak" if self.may_move(request) else "strong"].expect(request.chars, -1)
            self._strong_usd += request.most_usd
        self._under_way[side] += 1
        return True

    def move(self, request: Request) -> None:
        """A row that was not admitted is to be asked by the weak lane."""
        self._moved = self._moved or DoneRows()
        self._moved.add(request.prompt.file, np.array([request.prompt.row]))

    def move_admitted(self, request: Request) -> None:
        """Moves a row that was admitted and does not fit after all."""
        self._accounts["weak"].expect(request.chars)
        self.move(request)

    def settled(self, side: Side, request: Request, cost_usd: Decimal | None) -> None:
        """An admitted row came to its end; None: nobody knows what it cost."""
        self.left(side, request)
        if side == "weak":
            self._accounts[side].expect(request.chars, -1)
        if cost_usd is not None:
            self._accounts[side].learn(1, request.chars, float(cost_usd))

    def left(self, side: Side, request: Request) -> None:
        """An admitted row is no longer under way."""
        self._under_way[side] -= 1
        if side == "strong":
            self._strong_usd -= request.most_usd

    def ended(self, side: Side) -> None:
        """Nothing comes any more from a lane, whatever it had taken."""
        self._under_way[side] = 0

    def take_moved(self) -> DoneRows | None:
        """The rows that have moved since the last time; None: none has."""
        moved, self._moved = self._moved, None
        return moved

    def _affords(self, request: Request) -> bool:
        taken = self._budget.spent + self._budget.unconfirmed + self._strong_usd + request.most_usd
        self._accounts["weak"].expect(request.chars, -1)
        careful = not self.idle  # once nothing can tell more, the prediction itself decides
        ahead_usd = sum(account.ahead_usd(careful=careful) for account in self._accounts.values())
        self._accounts["weak"].expect(request.chars)
        return float(self._budget.limit - taken) >= ahead_usd + self._largest_usd

    def may_move(self, request: Request) -> bool:
        """Whether the weak side may take a row over, and for less."""
        return request.reason == "score" and bool(may_move(request.chars, self._accounts, self._longest_weak))


def may_move(
    chars: int | NDArray[np.int64], accounts: Mapping[Side, Account], longest_weak: int
) -> np.bool_ | NDArray[np.bool_]:
    """Whether the weak side takes a row of so many characters, and for less."""
    strong, weak = accounts["strong"].usual, accounts["weak"].usual
    cheaper = weak.per_row + weak.per_char * chars < strong.per_row + strong.per_char * chars
    return cheaper & (estimate_tokens(np.asarray(chars)) <= longest_weak)


def open_downgrade(
    endpoints: Endpoints,
    assumed: Mapping[str, Assumptions],
    parts: Sequence[ScorePart],
    store: RunStore,
    budget: Budget,
    *,
    threshold: float,
    limit: int | None,
) -> Downgrade:
    """For an input that is scored, from what is not done of it and what was paid in this directory so far.

    `limit` is how many rows are wanted at all.
    """
    accounts = {side: _account(assumed[side]) for side in SIDES}
    longest_weak = longest_input(endpoints.weak)
    rows, chars, longest_chars = 0, 0, 0
    for part in parts:
        scored = read_scores(part)
        wanted = ~np.isnan(scored.score) & ~among(scored, store.done)
        if limit is not None:
            wanted[max(0, limit - rows) :] = False
        _expect_rows(accounts, scored, route(scored, threshold, endpoints), wanted, longest_weak)
        rows, chars = rows + part.rows, chars + int(scored.chars.sum())
        longest_chars = max(longest_chars, int(scored.chars.max(initial=0)))
    for side, (known, usd) in _billed(store.layout.parts()).items():
        accounts[side].learn(known, round(known * chars / max(1, rows)), usd)
    return Downgrade(budget, accounts, longest_weak, _largest_usd(endpoints, assumed["weak"], longest_chars))


def _account(assumptions: Assumptions) -> Account:
    """Its predictions, which are straight lines for all but very long rows."""
    _, usual, high = (_line(*(costs / NANO).tolist()) for costs in assumptions.costs(np.array([0, _PROBE_CHARS])))
    return Account(usual, high)


def _line(at_none: float, at_probe: float) -> Line:
    return Line(at_none, (at_probe - at_none) / _PROBE_CHARS)


def _expect_rows(
    accounts: Mapping[Side, Account],
    rows: ScoredRows,
    routes: Routes,
    wanted: NDArray[np.bool_],
    longest_weak: int,
) -> None:
    """Adds a part's rows that will be asked, each to the side where it has to go if money is short."""
    open_rows = wanted & ~routes.too_long
    free = ~routes.forced & ~routes.moved & may_move(rows.chars, accounts, longest_weak)
    stays = (routes.to != WEAK) & ~free
    for account, mine in (
        (accounts["strong"], open_rows & stays),
        (accounts["weak"], open_rows & ~stays),
    ):
        account.rows += int(np.count_nonzero(mine))
        account.chars += int(rows.chars[mine].sum())


def _billed(parts: Iterable[Path]) -> dict[Side, tuple[int, float]]:
    """The answers of the directory that were paid for, and their cost, by side."""
    found: dict[Side, tuple[int, float]] = dict.fromkeys(SIDES, (0, 0.0))
    for part in parts:
        table = pq.read_table(part, columns=["route", "attempts", "cost_usd"])
        for side in SIDES:
            paid = table.filter((pc.field("route") == side) & (pc.field("attempts") > 0))
            costs = paid["cost_usd"].drop_null()
            rows, usd = found[side]
            found[side] = rows + len(costs), usd + float(pc.sum(costs).as_py() or 0.0)
    return found


def _largest_usd(endpoints: Endpoints, weak: Assumptions, chars: int) -> float:
    """About the most that the dearest row can cost on the weak side; the rows themselves tell it to the cent."""
    usage = Usage(prompt_tokens=chars + _BODY_BYTES, completion_tokens=longest_output(endpoints.weak.params))
    return float((weak.pricing.cost(usage) if weak.pricing else None) or Decimal(0))
