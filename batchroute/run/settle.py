"""How a row ended -> its result: pure functions over values.

Tokens and money are those of every attempt that brought usage, over all runs; what is unknown stays None.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from msgspec.structs import replace

from batchroute.job.prices import attempt_usd
from batchroute.send.classify import Answer
from batchroute.send.request import Outcome
from batchroute.types import TOKEN_COUNTS, Completion, Result, Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchroute.job.prices import Pricing, Target
    from batchroute.send.request import Request, Spent
    from batchroute.types import Finish


def never_sent(request: Request, target: Target, earlier: Result | None, finished_at: int) -> Result:
    """The refusal of a row that cannot be asked; it has an endpoint if it was scored before that.

    An earlier run may have asked it, under other settings: what that cost stays on the bill.
    """
    prompt, scored, usage = request.prompt, request.score is not None, _usage_of(earlier)
    return Result(
        file=prompt.file,
        row=prompt.row,
        id=prompt.id,
        score=request.score,
        route=target.name if scored else None,
        route_reason=request.reason if scored else None,
        model=None,
        status="refused",
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        completion_tokens=usage.completion_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cost_usd=None if earlier is None else earlier.cost_usd,
        attempts=request.attempts,
        error_type=prompt.refusal_type,
        error=prompt.refusal,
        finished_at=finished_at,
        keep=prompt.keep,
    )


def settled(
    request: Request, outcome: Outcome, target: Target, earlier: Result | None, finished_at: int, *, raw: bool
) -> Result:
    """The result of a row that was asked; `earlier` is what former runs spent, `raw`: with the whole body."""
    prompt, answer, usages, is_ok = request.prompt, outcome.answer, outcome.usages, outcome.status == "ok"
    # An answer that is refused may have been paid, as one that a job refuses for how it ended: what it says stays.
    completion = answer.completion or Completion()
    usage = usages[0] if earlier is None and len(usages) == 1 else sum(usages, _usage_of(earlier))
    return Result(
        file=prompt.file,
        row=prompt.row,
        id=prompt.id,
        score=request.score,
        route=target.name,
        route_reason=request.reason,
        model=target.model,
        served_model=completion.served_model,
        status=outcome.status,
        response=completion.response,
        reasoning=completion.reasoning,
        refusal=completion.refusal,
        tool_calls=completion.tool_calls,
        finish_reason=completion.finish_reason,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        completion_tokens=usage.completion_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cost_usd=_cost_usd(usages, target.pricing, earlier),
        attempts=outcome.attempts,
        latency_s=answer.latency_s,
        error_type=answer.error_type,
        error=answer.error,
        finished_at=finished_at,
        request_id=completion.request_id,
        service_tier=completion.service_tier,
        delivery="live",
        raw=answer.body if raw and is_ok else None,
        keep=b"" if outcome.status in {"failed", "open"} else prompt.keep,  # they may be many, and stay in memory
        fingerprint=request.fingerprint if is_ok else b"",
    )


def left_open(request: Request, spent: Spent, target: Target, earlier: Result | None, finished_at: int) -> Result:
    """What a row cost that was begun and not ended, for the run that takes it up again."""
    outcome = Outcome("open", Answer(verdict="transient"), spent.attempts, spent.usages)
    result = settled(request, outcome, target, earlier, finished_at, raw=False)
    return replace(result, latency_s=None)


def handed_over(result: Result, to: Target) -> Result:
    """An open row that goes on at another endpoint; what it has cost stays what it was."""
    return replace(result, route=to.name, route_reason="finish", model=to.model)


def refused_for(outcome: Outcome, finish: Finish, endpoint: str) -> Outcome:
    """An answer that the job refuses for how it ended."""
    error = f"the answer ended with {finish}, which endpoints.{endpoint}.on_finish refuses"
    answer = replace(outcome.answer, error_type=finish, error=error)
    return replace(outcome, status="refused", answer=answer)


def taken_over(
    request: Request, outcome: Outcome, target: Target, earlier: Result | None, finished_at: int, *, raw: bool
) -> Result:
    """The result of a row whose request another run asked: the answer is that run's, and paid for there."""
    result = settled(request, outcome, target, earlier, finished_at, raw=raw)
    spent_usd = None if earlier is None else earlier.cost_usd
    return replace(result, cost_usd=spent_usd or 0.0, latency_s=None, delivery=None)


def _usage_of(result: Result | None) -> Usage:
    if result is None:
        return Usage()
    return Usage(**{name: getattr(result, name) for name in TOKEN_COUNTS})


def billed_usd(usages: Sequence[Usage], pricing: Pricing | None) -> Decimal | None:
    """What is known of a bill, None where nothing is; each attempt is priced by itself, as its size may decide."""
    known = [cost for usage in usages if (cost := attempt_usd(usage, pricing)) is not None]
    return sum(known, Decimal(0)) if known else None


def at_todays_price(usages: Sequence[Usage], pricing: Pricing | None) -> tuple[Usage, ...]:
    """For answers that are kept: with what each attempt was billed, where that is known, as prices may change."""
    costs = [attempt_usd(usage, pricing) for usage in usages]
    return tuple(
        usage if cost is None else replace(usage, reported_usd=float(cost))
        for usage, cost in zip(usages, costs, strict=True)
    )


def _cost_usd(usages: Sequence[Usage], pricing: Pricing | None, earlier: Result | None) -> float | None:
    here = billed_usd(usages, pricing)
    if earlier is None or earlier.cost_usd is None:
        return None if here is None else float(here)
    before = Decimal(repr(earlier.cost_usd))
    return float(before if here is None else before + here)
