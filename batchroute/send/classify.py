"""What an HTTP answer means for the row, the lane and the retry: SPEC's table, as plain functions.

Decides once, into an `Answer`; nothing above looks at a status or an error code again. Knows no network
and no policy: how often and when to retry is decided in `retry`.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from batchroute.send.usage import read_usage
from batchroute.send.waits import retry_after_s
from batchroute.types import Completion, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    Read: TypeAlias = "Callable[[dict[str, Any]], Answer]"

Verdict = Literal[
    "ok",
    "rate_limited",  # slow down, then again
    "busy",  # the service tier is full: again, later or at another tier
    "transient",  # again
    "expired",  # again, with the key that is good now
    "malformed",  # again, but once only
    "refused",  # never for this row
    "fatal",  # never for this lane
    "over_budget",  # not sent: it may cost more than is left
]

Presence = Literal["answered", "silent", "unconnected"]  # what came back, if only an error; what it was sent over

MESSAGE_CHARS = 1000  # of a provider's error text are kept

_QUOTA = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "billing_error",
        "quota_exceeded",
        "insufficient_balance",
        "insufficient_credits",
    }
)
_CONTENT = frozenset({"content_filter", "content_policy_violation"})
_PERMISSION = frozenset({"permission_denied", "permission_error", "access_denied", "account_deactivated"})

# The status an error code in words stands for: it counts where the code comes inside a 200.
_STATUS_OF_CODE = {
    "invalid_api_key": 401,
    "authentication_error": 401,
    "model_not_found": 404,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "slow_down": 429,
    "overloaded_error": 529,
    "context_length_exceeded": 400,
    **dict.fromkeys(_QUOTA, 429),
    **dict.fromkeys(_CONTENT, 400),
    **dict.fromkeys(_PERMISSION, 403),
}


_ADVICE = {
    "invalid_key": "set api_key_env, or check the key it names",
    "permission": "check what the key may use, and the region",
    "quota": "top up the account or raise its quota",
    "not_found": "check base_url and model",
    "redirect": "set base_url to the address it leads to",
    "certificate": "check base_url and the certificates of this machine",
}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt, classified.

    `vectors` answer an embeddings request, whose `completion` holds no more than the bill. `body` is the whole
    text of an answer that is ok or refused, where it is wanted, `status` its HTTP status, None where it has none.
    `turned_away`: the server said no before it did any work (a 4xx), so nothing can be billed for it. `unsent`:
    there was no connection to send it over.
    """

    verdict: Verdict
    completion: Completion | None = None
    vectors: Any = None  # [n, dim] float32: msgspec cannot be told
    body: str | None = None
    status: int | None = None
    error_type: str | None = None
    error: str | None = None
    retry_after_s: float | None = None
    latency_s: float = 0.0
    turned_away: bool = False
    unsent: bool = False

    @property
    def usage(self) -> Usage | None:
        return self.completion.usage if self.completion else None

    @property
    def presence(self) -> Presence:
        """How much there was of an endpoint: an answer, if a bad one; no answer in time; no connection."""
        if self.unsent or self.error_type == "connect":
            return "unconnected"
        return "silent" if self.error_type == "timeout" else "answered"


def stop_reason(answer: Answer) -> str:
    """Why a lane stops that got this fatal answer, and what to do."""
    if answer.verdict == "over_budget":
        return answer.error or "limits.max_cost_usd is reached"
    return f"{answer.error}; {_ADVICE.get(answer.error_type or '', 'fix it')}, then run again"


class _Fault(msgspec.Struct, frozen=True):
    """An error as providers send it, in whatever shape: all its codes, and what it says."""

    codes: frozenset[str]
    message: str


def malformed(what: str, parsed: dict[str, Any]) -> Answer:
    """A complete answer that is not what was asked for; it may have been billed."""
    usage = read_usage(parsed)
    return Answer(
        verdict="malformed",
        error_type="malformed",
        error=f"the body {what}",
        completion=Completion(usage=usage) if usage else None,
    )


def classify(status: int, headers: Mapping[str, str], body: bytes, *, had_success: bool, read: Read) -> Answer:
    """The meaning of one complete HTTP answer; `had_success`: the lane has had an ok answer before.

    `headers` are looked up by lower-case name (aiohttp's mapping ignores case); `read` takes the object of a 200
    that is no error.
    """
    if 200 <= status < 300:
        return _classify_success(status, headers, body, read, had_success=had_success)
    if status < 400:
        target = headers.get("location", "nowhere")
        message = (
            f"HTTP {status} redirects to {target}; redirects are not followed: set base_url to where it leads"
        )
        return Answer(verdict="fatal", error_type="redirect", error=message)
    answer = _classify_fault(status, headers, _fault(_json(body), body), had_success=had_success)
    return msgspec.structs.replace(answer, turned_away=status < 500)


def _classify_success(
    status: int, headers: Mapping[str, str], body: bytes, read: Read, *, had_success: bool
) -> Answer:
    parsed = _json(body)
    if not isinstance(parsed, dict):
        return Answer(
            verdict="malformed", error_type="malformed", error=f"HTTP {status}, but the body is not a JSON object"
        )
    if parsed.get("error"):
        fault = _fault(parsed, body)
        return _classify_fault(_status_in_200(fault), headers, fault, had_success=had_success)
    answer = read(parsed)
    if answer.verdict == "malformed":
        return msgspec.structs.replace(answer, error=f"HTTP {status}, but {answer.error}")
    return answer


def _status_in_200(fault: _Fault) -> int:
    numbers = (int(code) for code in fault.codes if re.fullmatch("[45][0-9][0-9]", code))
    words = (_STATUS_OF_CODE[code] for code in fault.codes if code in _STATUS_OF_CODE)
    return next(words, None) or next(numbers, 500)


def _classify_fault(status: int, headers: Mapping[str, str], fault: _Fault, *, had_success: bool) -> Answer:
    verdict, error_type = _verdict(status, fault.codes, had_success=had_success)
    again = verdict in {"rate_limited", "transient"}
    return Answer(
        verdict=verdict,
        error_type=error_type,
        error=f"HTTP {status}: {fault.message}",
        retry_after_s=retry_after_s(headers, datetime.now(UTC)) if again else None,
    )


def _verdict(status: int, codes: frozenset[str], *, had_success: bool) -> tuple[Verdict, str]:
    """Codes that are more precise than any status come first: quota on a 429, a filter on a 403."""
    if codes & _QUOTA or status == 402:
        return "fatal", "quota"
    if "context_length_exceeded" in codes:
        return "refused", "context_length"
    if codes & _CONTENT:
        return "refused", "content_filter"
    if status == 429 or "slow_down" in codes:
        return "rate_limited", "rate_limit"
    if status in {408, 409, 425} or status >= 500:
        return "transient", f"http_{status}"
    if status in {401, 404}:
        return "fatal", {401: "invalid_key", 404: "not_found"}[status]
    if status == 403 and (not had_success or codes & _PERMISSION):
        return "fatal", "permission"
    return "refused", f"http_{status}"


def _json(body: bytes) -> Any:
    """The parsed body, None where it is not JSON; Python's own parser takes what the fast one refuses."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return _without_lone_surrogates(json.loads(body))
    except (ValueError, RecursionError):
        return None


def _without_lone_surrogates(parsed: Any) -> Any:
    text = json.dumps(parsed, ensure_ascii=False)
    return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _fault(parsed: Any, body: bytes) -> _Fault:
    error = parsed.get("error", parsed) if isinstance(parsed, dict) else None
    if isinstance(error, dict):
        codes = frozenset(str(error[key]) for key in ("code", "type") if isinstance(error.get(key), str | int))
        message = next((error[key] for key in ("message", "detail", "msg") if error.get(key)), error)
    else:
        codes, message = frozenset(), error or body[: 4 * MESSAGE_CHARS].decode("utf-8", "replace").strip()
    text = message if isinstance(message, str) else json.dumps(message)
    return _Fault(codes, text[:MESSAGE_CHARS] or "no message")
