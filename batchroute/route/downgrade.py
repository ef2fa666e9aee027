"""Keeping a budget by moving rows to the weak side before it is used up.

A row goes strong as long as what is left of the budget pays for the most that it and the strong rows in flight can
cost, and then for all other rows: each where it then has to go, which is the weak side wherever it may move. What
those cost is first predicted as a plan does it, then corrected by what answers really cost (`Outstanding`). Where
that is too much, a row waits as long as answers in flight may change the sum; only then it moves. Rows come in
input order, so those that move are the last ones; to move those of the lowest scores is what `routing.budget_usd`
does, by a threshold that is set before anything is sent.

A row that demands the strong side, that is too long for the weak one, or that would cost no less there, does not
move. The hard limit is kept by `send/budget`, whatever is predicted here.

Worked example: $1.00 is left, 300 rows are to be asked, all of them may move. On the weak side a row is predicted
to cost $0.002 and the largest one $0.005; a strong answer costs $0.04 at most.

    strong rows in flight, this one too   the other rows         largest   together
     1 * 0.04 = 0.04                      299 * 0.002 = 0.598      0.005      0.643   goes
    10 * 0.04 = 0.40                      290 * 0.002 = 0.580      0.005      0.985   goes
    11 * 0.04 = 0.44                      289 * 0.002 = 0.578      0.005      1.023   waits

One of the ten is answered and cost $0.01: 0.01 + 10 * 0.04 + 0.578 + 0.005 = $0.993, and the waiting row goes. In
the end nothing is in flight, $0.30 are left and 140 rows are to be asked: 0.04 + 139 * 0.002 + 0.005 = $0.323 is
too much, and the row moves. It still has to be paid on the weak side, so the next row finds the same sum and
moves, too, as do all that follow, unless weak answers turn out cheaper than predicted.
"""

from __future__ import annotations

import asyncio
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
from batchroute.store.rows import DoneRows
from batchroute.store.scores import among, read_scores
from batchroute.types import SIDES

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

_PROBE_CHARS = 10_000
_BODY_BYTES = 1_000  # of a request beside its text, for the most expensive one still to come
ENOUGH_ROWS = 20  # answers from which on they, and no longer the prediction, say what a row costs
STANDARD_ERRORS = 2.0  # kept aside for the error of the mean of the answers so far


@dataclass(frozen=True, slots=True)
class CostLine:
    """What rows cost by a prediction: so much a row, so much a character, in USD."""

    per_row: float
    per_char: float

    def usd(self, rows: int, chars: int) -> float:
        return self.per_row * rows + self.per_char * chars


@dataclass(slots=True)
class Outstanding:
    """One endpoint's rows that are still to be paid, `rows` with `chars` in all, and what others really cost.

    `usual` and `high` are predictions; `known_rows` should have cost `predicted_usd` by the first, and cost
    `actual_usd`.
    """

    usual: CostLine
    high: CostLine
    rows: int = 0
    chars: int = 0
    known_rows: int = 0
    predicted_usd: float = 0.0
    actual_usd: float = 0.0

    def add(self, chars: int, rows: int = 1) -> None:
        """Rows more, with `chars` in all, are to be paid here."""
        self.rows += rows
        self.chars += chars

    def remove(self, chars: int) -> None:
        """A row less."""
        self.rows -= 1
        self.chars -= chars

    def learn(self, rows: int, chars: int, cost_usd: float) -> None:
        """So many rows really cost this."""
        self.known_rows += rows
        self.predicted_usd += self.usual.usd(rows, chars)
        self.actual_usd += cost_usd

    def usd(self, *, careful: bool) -> float:
        """What the rows still to be paid may cost; `careful`: the high prediction while few answers are known.

        Costs of answers vary about as much as they are large, as those of an exponential distribution do, so the
        mean over n rows is off by its own size / sqrt(n). 400 rows predicted at $0.002 are to be paid; 100 others
        were predicted at $0.20 and cost $0.30. Then 1.5 * 400 * 0.002 * (1 + 2 * sqrt(1/400 + 1/100)) = $1.47.
        """
        if self.rows <= 0:
            return 0.0
        if self.known_rows < ENOUGH_ROWS or not self.predicted_usd:
            return (self.high if careful else self.usual).usd(self.rows, self.chars)
        spread = STANDARD_ERRORS * math.sqrt(1 / self.rows + 1 / self.known_rows)
        correction = self.actual_usd / self.predicted_usd
        return correction * self.usual.usd(self.rows, self.chars) * (1 + spread)


class Downgrade:
    """Decides row by row, in input order, whether it may go strong, and remembers those that may not.

    Belongs to one event loop; `changed` wakes whoever waits there with a row that was not admitted.
    """

    to = "weak"  # the endpoint that takes rows over

    def __init__(
        self, budget: Budget, outstanding: Mapping[str, Outstanding], longest_weak: int, largest_usd: float
    ) -> None:
        """`largest_usd`: the most that a weak row can cost; the last one, too, has to fit."""
        self._budget = budget
        self._outstanding = outstanding
        self._longest_weak = longest_weak
        self._largest_usd = largest_usd
        self._in_flight = dict.fromkeys(outstanding, 0)
        self._strong_usd = Decimal(0)  # the most that the strong rows in flight can cost
        self._weak_is_fed = False
        self._changed = asyncio.Event()
        self._moved: DoneRows | None = None

    @property
    def idle(self) -> bool:
        """Whether no answer is awaited that may leave room for something else."""
        return not any(self._in_flight.values())

    @property
    def is_final(self) -> bool:
        """Whether a row that is not admitted now never will be: no answer and no other weak row is to come."""
        return self.idle and self._weak_is_fed

    async def changed(self) -> None:
        """Until an answer came or a lane got to its end, so that a row may be admitted or be final now."""
        self._changed.clear()
        await self._changed.wait()

    def admits(self, endpoint: str, request: Request) -> bool:
        """Whether a row may go where its score sends it; it then is in flight."""
        if endpoint == "weak":
            self._largest_usd = max(self._largest_usd, float(request.most_usd))
        elif self.may_move(request) and not self._affords(request):
            return False
        else:
            self._outstanding["weak" if self.may_move(request) else "strong"].remove(request.chars)
            self._strong_usd += request.most_usd
        self._in_flight[endpoint] += 1
        return True

    def take(self, endpoint: str, request: Request) -> None:
        """A row whose answer is there and paid goes where its score sends it; it is settled next."""
        if endpoint != "weak":
            self._outstanding["weak" if self.may_move(request) else "strong"].remove(request.chars)
            self._strong_usd += request.most_usd
        self._in_flight[endpoint] += 1

    def may_move(self, request: Request) -> bool:
        """Whether the weak side may take a row over, and for less."""
        return request.reason == "score" and bool(may_move(request.chars, self._outstanding, self._longest_weak))

    def move(self, request: Request) -> None:
        """A row that was not admitted is to be asked by the weak lane."""
        self._moved = self._moved or DoneRows()
        self._moved.add(request.prompt.file, np.array([request.prompt.row]))

    def move_admitted(self, request: Request) -> None:
        """Moves a row that was admitted and does not fit after all."""
        self._outstanding["weak"].add(request.chars)
        self.move(request)

    def settled(self, endpoint: str, request: Request, cost_usd: Decimal | None) -> None:
        """An admitted row came to its end; `cost_usd` None: unknown."""
        self.left(endpoint, request)
        if endpoint == "weak":
            self._outstanding[endpoint].remove(request.chars)
        if cost_usd is not None:
            self._outstanding[endpoint].learn(1, request.chars, float(cost_usd))

    def expect(self, endpoint: str, request: Request) -> None:
        """A row that was settled goes on at another endpoint, and is to be paid there, too."""
        self._outstanding[endpoint].add(request.chars)

    def left(self, endpoint: str, request: Request) -> None:
        """An admitted row is no longer in flight."""
        self._in_flight[endpoint] -= 1
        if endpoint == "strong":
            self._strong_usd -= request.most_usd
        self._changed.set()

    def fed(self, endpoint: str) -> None:
        """All rows that their scores send to an endpoint were admitted."""
        self._weak_is_fed |= endpoint == "weak"
        self._changed.set()

    def ended(self, endpoint: str) -> None:
        """Nothing comes any more from a lane, whatever it had taken."""
        self._in_flight[endpoint] = 0
        self.fed(endpoint)

    def take_moved(self) -> DoneRows | None:
        """The rows that have moved since the last time; None: none has."""
        moved, self._moved = self._moved, None
        return moved

    def _affords(self, request: Request) -> bool:
        taken = self._budget.spent + self._budget.unconfirmed + self._strong_usd + request.most_usd
        self._outstanding["weak"].remove(request.chars)
        careful = not self.idle  # once nothing can tell more, the prediction itself decides
        ahead_usd = sum(rows.usd(careful=careful) for rows in self._outstanding.values())
        self._outstanding["weak"].add(request.chars)
        return float(self._budget.limit - taken) >= ahead_usd + self._largest_usd


def may_move(
    chars: int | NDArray[np.int64], outstanding: Mapping[str, Outstanding], longest_weak: int
) -> np.bool_ | NDArray[np.bool_]:
    """Whether the weak side takes a row of so many characters, and for less."""
    strong, weak = outstanding["strong"].usual, outstanding["weak"].usual
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
    outstanding = {name: _no_rows_yet(assumptions) for name, assumptions in assumed.items()}
    longest_weak = longest_input(endpoints.weak)
    rows, chars, longest_chars = 0, 0, 0
    for part in parts:
        scored = read_scores(part)
        wanted = ~np.isnan(scored.score) & ~among(scored, store.done)
        if limit is not None:
            wanted[max(0, limit - rows) :] = False
        _expect_rows(outstanding, scored, route(scored, threshold, endpoints), wanted, longest_weak)
        rows, chars = rows + part.rows, chars + int(scored.chars.sum())
        longest_chars = max(longest_chars, int(scored.chars.max(initial=0)))
    for name, (known, usd) in _billed(store.layout.parts()).items():
        outstanding[name].learn(known, round(known * chars / max(1, rows)), usd)
    return Downgrade(budget, outstanding, longest_weak, _largest_usd(endpoints, assumed["weak"], longest_chars))


def _no_rows_yet(assumptions: Assumptions) -> Outstanding:
    """No rows; the predictions, which are straight lines for all but very long rows."""
    usd = assumptions.costs(np.array([0, _PROBE_CHARS])) / NANO
    _, usual, high = (CostLine(none, (probe - none) / _PROBE_CHARS) for none, probe in usd.tolist())
    return Outstanding(usual, high)


def _expect_rows(
    outstanding: Mapping[str, Outstanding],
    rows: ScoredRows,
    routes: Routes,
    wanted: NDArray[np.bool_],
    longest_weak: int,
) -> None:
    """Adds a part's rows that will be asked, each to the side where it has to go if money is short."""
    open_rows = wanted & ~routes.too_long
    free = ~routes.forced & ~routes.moved & may_move(rows.chars, outstanding, longest_weak)
    stays = (routes.to != WEAK) & ~free
    for name, mine in (("strong", open_rows & stays), ("weak", open_rows & ~stays)):
        outstanding[name].add(int(rows.chars[mine].sum()), int(np.count_nonzero(mine)))


def _billed(parts: Iterable[Path]) -> dict[str, tuple[int, float]]:
    """The answers of the directory that were paid for, and their cost, by endpoint."""
    found: dict[str, tuple[int, float]] = dict.fromkeys(SIDES, (0, 0.0))
    for part in parts:
        table = pq.read_table(part, columns=["route", "attempts", "cost_usd"])
        for side in SIDES:
            paid = table.filter((pc.field("route") == side) & (pc.field("attempts") > 0))
            costs = paid["cost_usd"].drop_null()
            rows, usd = found[side]
            found[side] = rows + len(costs), usd + float(pc.sum(costs).as_py() or 0.0)
    return found


def _largest_usd(endpoints: Endpoints, weak: Assumptions, chars: int) -> float:
    """About the most that the longest row can cost on the weak side; requests say it to the cent as they come."""
    longest = longest_output(endpoints.weak.params)
    return float(weak.pricing.most_usd(chars + _BODY_BYTES, longest)) if weak.pricing else 0.0
