"""The faults by name: each takes the flawless reply and damages it. Knows neither rates nor sockets.

A name is one of `FAULTS` or `ERRORS`, a status (`503`; 3xx redirect), or `ok_CODE`: a 200 whose body is an error
of that code. Each was met at a provider or at a gateway.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec.structs import replace

from batchroute.simulate import damage
from batchroute.simulate.answer import Reply

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batchroute.simulate.damage import Fault

USUAL_CODE: Mapping[int, str] = {404: "model_not_found", 429: "rate_limit_exceeded", 500: "server_error"}
NO_QUOTA = "You exceeded your current quota, please check your plan and billing details."
NO_CREDIT = "Your credit balance is too low to access the API. Please go to Plans & Billing to purchase credits."
SUSPENDED = "Your account is suspended due to insufficient balance, please recharge your account."
TOO_LARGE = (
    "Request too large for this model on tokens per min (TPM): Limit 30000, Requested 40000. The input or output "
    "tokens must be reduced in order to run successfully."
)
TRY_AGAIN = "Rate limit reached on tokens per min (TPM): Limit 30000, Used 29950. Please try again in 1s."
GOOGLE_WAIT = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"}
GOOGLE_BUSY = {"code": 429, "message": NO_QUOTA, "status": "RESOURCE_EXHAUSTED", "details": [GOOGLE_WAIT]}
GOOGLE_WRONG = {"code": 400, "message": "Request contains an invalid argument.", "status": "INVALID_ARGUMENT"}
FILTERED = {"prompt_index": 0, "content_filter_results": {"violence": {"filtered": True, "severity": "high"}}}
PAGE = b"<html><body><h1>Welcome</h1>A proxy's page.</body></html>"

ERRORS: Mapping[str, Fault] = {
    # The key and the account.
    "invalid_api_key": damage.error(401, "invalid_api_key"),
    "permission_denied": damage.error(403, "permission_denied"),
    "account_deactivated": damage.error(403, "account_deactivated"),
    "insufficient_quota": damage.error(429, "insufficient_quota"),
    "quota_words": damage.error(429, None, NO_QUOTA, waits=False),
    "billing_hard_limit_reached": damage.error(400, "billing_hard_limit_reached"),
    "credit_balance": damage.error(400, None, NO_CREDIT),
    "insufficient_balance": damage.error(402, "invalid_request_error", "Insufficient Balance"),
    "exceeded_current_quota_error": damage.error(429, "exceeded_current_quota_error", SUSPENDED, waits=False),
    # This request.
    "model_not_found": damage.error(404, "model_not_found"),
    "invalid_request_error": damage.error(400, "invalid_request_error"),
    "context_length_exceeded": damage.error(400, "context_length_exceeded"),
    "content_filter": damage.error(400, "content_filter"),
    "content_policy_violation": damage.error(400, "content_policy_violation"),
    "too_large": damage.error(429, "rate_limit_exceeded", TOO_LARGE, waits=False),
    # This moment.
    "rate_limit_exceeded": damage.error(429, "rate_limit_exceeded"),
    "try_again": damage.error(429, "rate_limit_exceeded", TRY_AGAIN, waits=False),
    "resource_unavailable": damage.error(429, "resource_unavailable", "Resource unavailable", waits=False),
    "capacity_exceeded": damage.error(498, "capacity_exceeded", "Flex tier capacity exceeded"),
    "slow_down": damage.error(503, "slow_down"),
    "server_error": damage.error(500, "server_error"),
    "overloaded_error": damage.error(529, "overloaded_error", "Overloaded"),
    # In another shape, whatever the dialect.
    "google_429": damage.says([{"error": GOOGLE_BUSY}], 429),
    "google_400": damage.says([{"error": GOOGLE_WRONG}], 400),
    "base_resp": damage.says({"choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit"}}),
    "object_error": damage.says({"object": "error", "message": "Simulated overload", "code": 503}),
}

FAULTS: Mapping[str, Fault] = {
    # On the way.
    "reset": lambda _reply, _: Reply(0, delivery="reset"),
    "hang": lambda _reply, _: Reply(0, delivery="hang"),
    "cut": damage.delivered("cut"),
    "stall": damage.delivered("stall"),
    "slow": damage.delivered("slow"),
    "endless": damage.delivered("endless"),
    "unasked_events": damage.unasked_events,
    # The body as a whole.
    "content_type": lambda reply, _: replace(reply, content_type="text/plain"),
    "html": lambda _reply, _: Reply(200, PAGE, content_type="text/html"),
    "truncated": lambda reply, _: replace(reply, body=reply.body[: len(reply.body) // 2]),
    "empty": lambda reply, _: replace(reply, body=b""),
    "not_utf8": lambda reply, _: replace(reply, body=reply.body.replace(b"[simulated]", b"[simulated \xff]")),
    "gzip_bomb": damage.gzip_bomb,
    # The answer, in every dialect and in streams, too.
    "refusal": damage.answers(refusal="[simulated] The model refuses to answer this."),
    "unreadable": damage.answers(text="[simulated] An answer in no form that anybody asked for."),
    "filtered": damage.answers(finish="content_filter"),
    "no_room": damage.answers(finish="length"),
    "other_model": damage.other_model,
    # The choices of a chat completion. Here and below an answer without that part stays as it is; so do streams.
    "no_choices": damage.edited("choices", lambda answer, _: answer.update(choices=[])),
    "prompt_filtered": damage.edited(
        "choices", lambda answer, _: answer.update(choices=[], prompt_filter_results=[FILTERED])
    ),
    "no_message": damage.choice(message=..., finish_reason="length"),
    "null_message": damage.choice(message=None, finish_reason="content_filter"),
    "choice_error_429": damage.failed_choice(429),
    "choice_error_502": damage.failed_choice(502),
    "finish_error": damage.choice(finish_reason="error", message={"role": "assistant", "content": None}),
    "null_content": damage.content(None),
    "content_number": damage.content(42),
    "content_object": damage.content({"answer": "simulated"}),
    "content_strings": damage.content(["[simulated] ", "in a list"]),
    "lone_surrogate": damage.content("[simulated] Half of a pair: \ud83d"),
    "oversize": damage.edited("choices", damage.oversize),
    # The vectors.
    "vectors_shuffled": damage.edited("data", lambda answer, _: answer["data"].reverse()),
    "vector_missing": damage.edited("data", lambda answer, _: answer["data"].pop()),
    "vector_short": damage.edited("data", lambda answer, _: answer["data"][0].update(embedding=[0.5])),
    "vector_nan": damage.edited("data", lambda answer, _: answer["data"][0].update(embedding=[math.nan] * 8)),
    # What the answer says it is billed. The bill itself stays, but where the provider names a cost of its own.
    "no_usage": damage.edited("usage", lambda answer, _: answer.pop("usage")),
    "usage_nulls": damage.edited("usage", lambda answer, _: answer.update(usage=dict.fromkeys(answer["usage"]))),
    "usage_strings": damage.each_count(str),
    "usage_zero": damage.each_count(lambda _: 0),
    "usage_no_total": damage.edited("usage", lambda answer, _: answer["usage"].pop("total_tokens", None)),
    "reasoning_beside": damage.reasoning_beside(said=True),
    "reasoning_unsaid": damage.reasoning_beside(said=False),
    "cached_deepseek": damage.cached_as(
        lambda prompt, cached, _: {"prompt_cache_hit_tokens": cached, "prompt_cache_miss_tokens": prompt - cached}
    ),
    "cached_moonshot": damage.cached_as(lambda _, cached, _written: {"cached_tokens": cached}),
    "cached_anthropic": damage.cached_as(
        lambda _, cached, written: {"cache_read_input_tokens": cached, "cache_creation_input_tokens": written}
    ),
    "own_cost": damage.own_cost,
    "zero_cost": damage.usage(cost=0),
}


def find(name: str) -> Fault | None:
    """The fault of that name, None where there is none."""
    if name in FAULTS or name in ERRORS:
        return FAULTS.get(name) or ERRORS[name]
    if name.startswith("ok_"):
        return damage.error(200, name.removeprefix("ok_"))
    if len(name) == 3 and name.isdecimal() and "300" <= name <= "599":
        status = int(name)
        return damage.redirect(status) if status < 400 else damage.error(status, USUAL_CODE.get(status))
    return None


def unknown(names: Iterable[str]) -> str | None:
    """The message for faults that do not exist; None if all do."""
    missing = sorted(name for name in names if find(name) is None)
    if not missing:
        return None
    known = ", ".join([*FAULTS, *ERRORS])
    return f"no such fault: {', '.join(missing)}; there are {known}, statuses (503) and ok_CODE"
