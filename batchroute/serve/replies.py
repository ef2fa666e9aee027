"""How a live request ended -> the response to its client, in OpenAI's shape. Plain functions on values."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from batchroute.send.classify import Answer
    from batchroute.serve.forward import LiveResult

# A failure that the endpoint did not explain itself: status, code.
_FAILURES = {
    "context_length": (400, "context_length_exceeded"),
    "content_filter": (400, "content_filter"),
    "rate_limit": (429, "rate_limit_exceeded"),
    "quota": (429, "insufficient_quota"),
    "budget": (429, "insufficient_quota"),
    "timeout": (504, "timeout"),
    "stopped": (503, "unavailable"),
}
RETRY_AFTER_S = 5


def error_body(status: int, message: str, code: str | None = None, param: str | None = None) -> bytes:
    """An error object as OpenAI shapes it."""
    kinds = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": code}})


def reply_of(ended: LiveResult) -> tuple[int, bytes]:
    """Status and body: an answer or a refusal as the endpoint gave it, anything else in our words."""
    answer = ended.outcome.answer
    if answer.verdict == "ok":
        return 200, (answer.body or "").encode()
    if answer.body is not None and answer.status is not None and answer.status >= 400:
        return answer.status, answer.body.encode()
    status, code = failure_of(answer)
    return status, error_body(status, f"the {ended.result.route} endpoint: {answer.error}", code)


def failure_of(answer: Answer) -> tuple[int, str]:
    """Status and code of a failure; 502 for what is wrong between the server and an endpoint."""
    error_type = answer.error_type or "failed"
    if error_type in _FAILURES:
        return _FAILURES[error_type]
    is_clients = answer.verdict == "refused" and error_type.startswith("http_4")
    return (int(error_type.removeprefix("http_")), error_type) if is_clients else (502, error_type)


def route_headers(ended: LiveResult) -> dict[str, str]:
    """Where a request went and what it cost; the cost only where it is known."""
    headers = decision_headers(ended.result.route, ended.result.model, ended.result.score, ended.threshold)
    if ended.result.cost_usd is not None:
        headers["x-batchroute-cost-usd"] = format(Decimal(repr(ended.result.cost_usd)), "f")
    return headers


def decision_headers(
    side: str | None, model: str | None, score: float | None, threshold: float | None
) -> dict[str, str]:
    """What is known before there is an answer; no score where none was needed."""
    known = {"route": side, "model": model, "score": score, "threshold": threshold}
    return {f"x-batchroute-{name}": header_text(value) for name, value in known.items() if value is not None}


def header_text(value: str | float) -> str:
    """A value that a header can carry: models may be named in any characters."""
    return value.encode("ascii", "backslashreplace").decode() if isinstance(value, str) else repr(value)


def wait_headers(status: int) -> dict[str, str]:
    """Tells clients whether to retry. What failed was tried as often as the job allows, so only a 503 may help."""
    if status == 503:
        return {"Retry-After": str(RETRY_AFTER_S)}
    return {} if status < 400 else {"x-should-retry": "false"}  # OpenAI's clients would retry a 429 or 502
