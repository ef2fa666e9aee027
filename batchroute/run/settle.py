"""How a row ended -> its result: pure functions over values.

Tokens and money are those of every attempt that brought usage, over all runs; what nobody told stays None.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from batchroute.types import Completion, Result, Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchroute.job.prices import Pricing, Target
    from batchroute.send.classify import Answer
    from batchroute.send.request import Outcome, Request, Spent
    from batchroute.types import Status


def never_sent(request: Request, asked: Target, finished_at: int) -> Result:
    """The refusal of a row that could not be asked; it has a side if it was scored before that."""
    prompt = request.prompt
    scored = request.score is not None
    return Result(
        file=prompt.file,
        row=prompt.row,
        id=prompt.id,
        score=request.score,
        route=asked.name if scored else None,
        route_reason=request.reason if scored else None,
        model=None,
        status="refused",
        attempts=0,
        error_type=prompt.refusal_type,
        error=prompt.refusal,
        finished_at=finished_at,
        keep=prompt.keep,
    )


def settled(
    request: Request, outcome: Outcome, asked: Target, earlier: Result | None, finished_at: int, *, raw: bool
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


def left_open(request: Request, spent: Spent, asked: Target, earlier: Result | None, finished_at: int) -> Result:
    """What a row cost that was begun and not ended, for the run that takes it up again."""
    return _result(
        request,
        asked,
        earlier,
        spent.usages,
        status="open",
        answer=None,
        attempts=spent.attempts,
        finished_at=finished_at,
        raw=False,
    )


def _result(
    request: Request,
    asked: Target,
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
    usage = usages[0] if earlier is None and len(usages) == 1 else sum(usages, _usage_of(earlier))
    return Result(
        file=prompt.file,
        row=prompt.row,
        id=prompt.id,
        score=request.score,
        route=asked.name,
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
        cache_write_tokens=usage.cache_write_tokens,
        completion_tokens=usage.completion_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cost_usd=_cost_usd(usages, asked.pricing, earlier),
        attempts=attempts,
        latency_s=answer.latency_s if answer else None,
        error_type=answer.error_type if answer else None,
        error=answer.error if answer else None,
        finished_at=finished_at,
        delivery="live",
        raw=answer.body if answer and raw and status == "ok" else None,
        keep=prompt.keep if status in {"ok", "refused"} else b"",
        fingerprint=request.fingerprint if status == "ok" else b"",
    )


def taken_over(
    request: Request, answer: Answer, asked: Target, earlier: Result | None, finished_at: int, *, raw: bool
) -> Result:
    """The result of a row whose request another run asked: the answer is that run's, and paid for there."""
    result = _result(
        request,
        asked,
        earlier,
        () if answer.usage is None else (answer.usage,),
        status="ok",
        answer=answer,
        attempts=request.attempts,
        finished_at=finished_at,
        raw=raw,
    )
    spent = None if earlier is None else earlier.cost_usd
    return msgspec.structs.replace(result, cost_usd=spent or 0.0, latency_s=None, delivery=None)


def _usage_of(result: Result | None) -> Usage:
    if result is None:
        return Usage()
    return Usage(**{name: getattr(result, name) for name in Usage.__struct_fields__})


def billed_usd(usages: Sequence[Usage], pricing: Pricing | None) -> Decimal | None:
    """What is known of a bill, None where nothing is; each attempt is priced by itself, as its size may decide."""
    if pricing is None:
        return None
    known = [cost for usage in usages if (cost := pricing.cost(usage)) is not None]
    return sum(known, Decimal(0)) if known else None


def _cost_usd(usages: Sequence[Usage], pricing: Pricing | None, earlier: Result | None) -> float | None:
    here = billed_usd(usages, pricing)
    if earlier is None or earlier.cost_usd is None:
        return None if here is None else float(here)
    before = Decimal(repr(earlier.cost_usd))
    return float(before if here is None else before + here)
