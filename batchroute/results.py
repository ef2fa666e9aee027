"""How a row ended -> its result: pure functions over values.

Tokens and money are those of every attempt that brought usage, over all runs; what nobody told stays None.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from batchroute.types import Completion, Result, Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchroute.classify import Answer
    from batchroute.dispatch import OpenRow, Outcome, Request
    from batchroute.prices import Pricing
    from batchroute.types import Side, Status


@dataclass(frozen=True, slots=True)
class Asked:
    """Whom a lane asks, at which price; `pricing` None: unknown."""

    side: Side
    model: str
    pricing: Pricing | None


def never_sent(request: Request, asked: Asked, finished_at: int) -> Result:
    """The refusal of a row that could not be asked; it has a side if it was scored and then found too long."""
    prompt = request.prompt
    scored = request.score is not None
    return Result(
        file=prompt.file,
        row=prompt.row,
        id=prompt.id,
        score=request.score,
        route=asked.side if scored else None,
        route_reason=request.reason if scored else None,
        model=None,
        status="refused",
        attempts=0,
        error_type="too_long" if scored else "bad_row",
        error=prompt.refusal,
        finished_at=finished_at,
        keep=prompt.keep,
    )


def settled(
    request: Request, outcome: Outcome, asked: Asked, earlier: Result | None, finished_at: int, *, raw: bool
) -> Result:
    """The result of a row that was asked; `earlier` is what former runs spent on it."""
    return _result(
        request,
        asked,
        earlier,
        outcome.usages,
        status=outcome.status,
        answer=outcome.answer,
        attempts=outcome.attempts,
        finished_at=finished_at,
        raw=raw,
    )


def left_open(row: OpenRow[Request], asked: Asked, earlier: Result | None, finished_at: int) -> Result:
    """What a row cost that was begun and not ended, for the run that takes it up again."""
    return _result(
        row.request,
        asked,
        earlier,
        row.usages,
        status="open",
        answer=None,
        attempts=row.attempts,
        finished_at=finished_at,
        raw=False,
    )


def _result(
    request: Request,
    asked: Asked,
    earlier: Result | None,
    usages: Sequence[Usage],
    *,
    status: Status,
    answer: Answer | None,
    attempts: int,
    finished_at: int,
    raw: bool,
) -> Result:
    prompt = request.prompt
    completion = (answer.completion if answer and status == "ok" else None) or Completion()
    usage = sum(usages, _usage_of(earlier))
    return Result(
        file=prompt.file,
        row=prompt.row,
        id=prompt.id,
        score=request.score,
        route=asked.side,
        route_reason=request.reason,
        model=asked.model,
        served_model=completion.served_model,
        status=status,
        response=completion.response,
        reasoning=completion.reasoning,
        tool_calls=completion.tool_calls,
        finish_reason=completion.finish_reason,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cost_usd=_cost_usd(usages, asked.pricing, earlier),
        attempts=attempts,
        latency_s=answer.latency_s if answer else None,
        error_type=answer.error_type if answer else None,
        error=answer.error if answer else None,
        finished_at=finished_at,
        raw=answer.body if answer and raw and status == "ok" else None,
        keep=prompt.keep if status in {"ok", "refused"} else b"",
    )


def _usage_of(result: Result | None) -> Usage:
    if result is None:
        return Usage()
    return Usage(result.prompt_tokens, result.cached_tokens, result.completion_tokens, result.reasoning_tokens)


def _cost_usd(usages: Sequence[Usage], pricing: Pricing | None, earlier: Result | None) -> float | None:
    """Each attempt is priced by itself, since a price may depend on a request's size."""
    costs = [pricing.cost(usage) if pricing else None for usage in usages]
    if earlier is not None and earlier.cost_usd is not None:
        costs.append(Decimal(repr(earlier.cost_usd)))
    known = [cost for cost in costs if cost is not None]
    return float(sum(known, Decimal(0))) if known else None
