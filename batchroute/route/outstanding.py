"""What rows that are not paid yet may cost: a prediction, corrected by what answers really cost.

Knows counts of rows and characters; knows no rows, no scores and no budget.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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
