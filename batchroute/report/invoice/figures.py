"""What a reconciliation found, as one value: every figure of `reconcile --json`. USD; None stands for unknown."""

from __future__ import annotations

import msgspec

from batchroute.report.invoice.causes import Cause  # noqa: TC001 - msgspec reads it


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One model on one day; `day` None: embeddings, of which a run knows no day.

    Tokens are those of prompts and answers together. A side is None where it says nothing of it, `difference_usd`
    (theirs less ours) where that is so of either. `agrees`: it is within the tolerance, or without amounts: the
    tokens are the same.
    """

    day: str | None
    model: str
    theirs_usd: float | None
    ours_usd: float | None
    difference_usd: float | None
    theirs_tokens: int | None
    ours_tokens: int | None
    agrees: bool
    causes: list[Cause]


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """All lines, their sums, and what of either side is in no line.

    `other_models_usd`, `other_days_usd`: of the invoice, for models of none of the runs and days of none;
    `not_invoiced_usd`: of the runs, by model, at hosts that the invoice has no model of. `unconfirmed_usd` is in
    no sum of ours, and may be on the invoice.
    """

    runs: list[str]
    invoice: str
    columns: dict[str, str]
    within_usd: float
    lines: list[Line]
    theirs_usd: float | None
    ours_usd: float
    difference_usd: float | None
    agrees: bool
    causes: list[Cause]
    unconfirmed_usd: float | None
    other_models_usd: float
    other_days_usd: float
    not_invoiced_usd: dict[str, float]
    simulated: bool = False
