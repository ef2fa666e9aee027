"""What an HTTP answer means for the row, the lane and the retry.

Decides once, into an `Answer`; nothing above looks at a status or an error code again. What an error means is the
table in `verdict`, what an answer says is read by the API's dialect. Knows no network and no policy: how often and
when to retry is decided in `retry`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from batchroute.send.fault import Fault, plain_code, read_fault, says_something
from batchroute.send.parse import parse
from batchroute.send.usage import read_usage
from batchroute.send.verdict import WAITING, Told, Verdict, is_money, judge, status_of
from batchroute.send.waits import retry_after_s
from batchroute.types import Completion, StopReason, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from batchroute.send.verdict import Asked

    Read: TypeAlias = "Callable[[dict[str, Any]], Answer | Fault]"

Presence = Literal["answered", "silent", "unconnected"]  # what came back, if only an error; what it was sent over

MOST_ID_CHARS = 200  # of a request's name are kept
_NOTHING = Completion()
_NO_STATUS = frozenset({"None", "0", "200", ""})
_GAVE_UP = frozenset({408, 424, 499})  # over a request that a server, or the one behind it, may have worked on

MOST_DETAIL_CHARS = 200  # of what a provider says are repeated where a lane stops
# Of errors that stop a lane: in a few words, and what to do.
_CAUSES = {
    "invalid_key": ("key rejected", "set api_key_env, or check the key it names"),
    "permission": ("no permission", "check what the key may use, and the region"),
    "quota": ("quota or credit used up", "top up the account or raise its quota"),
    "not_found": ("address or model not found", "check base_url and model"),
    "redirect": ("redirected", "set base_url to the address it leads to"),
    "certificate": ("certificate rejected", "check base_url and the certificates of this machine"),
    "address": ("no address", "check base_url"),
}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt, classified.

    `vectors` answer an embeddings request, whose `completion` holds no more than the bill. `body` is the whole
    text of an answer that is ok or refused, where it is wanted, `status` its HTTP status, None where it has none.
    `turned_away`: the server said no (a 4xx). `unsent`: there was no connection to send it over.
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
    def unbilled(self) -> bool:
        """Whether nothing can have been billed: it was not sent, or turned away before any work was done."""
        return self.unsent or (self.turned_away and self.status not in _GAVE_UP)

    @property
    def presence(self) -> Presence:
        """How much there was of an endpoint: an answer, if a bad one; no answer in time; no connection."""
        if self.unsent or self.error_type == "connect":
            return "unconnected"
        return "silent" if self.error_type == "timeout" else "answered"


def stop_reason(answer: Answer) -> StopReason:
    """Why a lane stops that got this fatal answer, and what to do."""
    if answer.verdict == "over_budget":
        cause, advice = answer.error or "limits.max_cost_usd is reached", "raise limits.max_cost_usd"
        return StopReason(cause, advice=f"{advice}, then run again", doing="no_money")
    said, known = shortened(answer.error or "", MOST_DETAIL_CHARS), _CAUSES.get(answer.error_type or "")
    if known is None:
        return StopReason(said, advice="fix it, then run again")
    cause, advice = known
    return StopReason(cause, said, f"{advice}, then run again")


def shortened(text: str, most_chars: int) -> str:
    """In one line, which says where it is cut."""
    line = " ".join(text.split())
    return line if len(line) <= most_chars else f"{line[: most_chars - 1]}…"


def malformed(what: str, parsed: dict[str, Any]) -> Answer:
    """A complete answer that is not what was asked for; it may have been billed."""
    return msgspec.structs.replace(_malformed(f"the body {what}"), completion=_billed_alone(parsed))


def classify(status: int, headers: Mapping[str, str], body: bytes, asked: Asked, read: Read) -> Answer:
    """The meaning of one complete HTTP answer.

    `headers` are looked up by lower-case name (aiohttp's mapping ignores case); `read` takes the object of a 200
    that is no error, and may find one in it.
    """
    parsed = parse(body)
    try:
        if 200 <= status < 300:
            answer = _classify_success(status, headers, parsed, asked, read)
        elif status < 400:
            answer = _redirected(status, headers)
        else:
            answer = _classify_fault(status, headers, read_fault(parsed, body), parsed, asked)
            answer = msgspec.structs.replace(answer, turned_away=status < 500)
    except RecursionError:
        return _malformed(f"HTTP {status}, but the body is nested too deeply")
    return _identified(answer, headers, parsed)


def _malformed(error: str) -> Answer:
    return Answer(verdict="malformed", error_type="malformed", error=error)


def _redirected(status: int, headers: Mapping[str, str]) -> Answer:
    target = headers.get("location", "nowhere")
    message = f"HTTP {status} redirects to {target}; redirects are not followed: set base_url to where it leads"
    return Answer(verdict="fatal", error_type="redirect", error=message)


def _classify_success(status: int, headers: Mapping[str, str], parsed: Any, asked: Asked, read: Read) -> Answer:
    if not isinstance(parsed, dict):
        return _malformed(f"HTTP {status}, but the body is not a JSON object")
    answer = read_fault(parsed) if _is_fault(parsed) else read(parsed)
    if isinstance(answer, Answer):
        if answer.verdict == "ok":
            used = answer.usage
            return answer if used is None or used.completion_tokens != 0 else _without_zeros(answer, used)
        fault = read_fault(parsed)
        if not isinstance(parsed.get("error"), dict) and status_of(fault) is None:
            return msgspec.structs.replace(answer, error=f"HTTP {status}, but {answer.error}")
        answer = fault
    unnamed = 402 if is_money(answer, asked) else 500
    return _classify_fault(status_of(answer) or unnamed, headers, answer, parsed, asked)


def _is_fault(parsed: dict[str, Any]) -> bool:
    """Whether the object of a 200 says that it is an error."""
    error, own = parsed.get("error"), parsed.get("base_resp")
    if error and says_something(error):
        return True
    if own and isinstance(own, dict):
        return str(own.get("status_code")) not in _NO_STATUS
    return parsed.get("object") == "error"


def _without_zeros(answer: Answer, used: Usage) -> Answer:
    """No text and no call takes 0 tokens: whoever says so does not count them."""
    completion = answer.completion
    if completion is None or not (completion.response or completion.reasoning or completion.tool_calls):
        return answer
    usage = msgspec.structs.replace(used, completion_tokens=None)
    return msgspec.structs.replace(answer, completion=msgspec.structs.replace(completion, usage=usage))


def _classify_fault(status: int, headers: Mapping[str, str], fault: Fault, parsed: Any, asked: Asked) -> Answer:
    wait_s = retry_after_s(headers, datetime.now(UTC))
    if wait_s is None:
        wait_s = fault.wait_s
    codes = frozenset(map(plain_code, fault.codes))
    verdict, error_type = judge(Told(status, codes, fault, wait_s, _limit_tokens(headers), asked))
    return Answer(
        verdict=verdict,
        error_type=error_type,
        error=f"HTTP {status}: {fault.message}",
        retry_after_s=wait_s if verdict in WAITING else None,
        completion=_billed_alone(parsed),
    )


def _limit_tokens(headers: Mapping[str, str]) -> int | None:
    """The tokens a minute that the account has."""
    limit = headers.get("x-ratelimit-limit-tokens", "")
    return int(limit) if limit.isascii() and limit.isdigit() and len(limit) <= MOST_ID_CHARS else None


def _billed_alone(parsed: Any) -> Completion | None:
    """What an answer was billed that has nothing else to offer."""
    usage = read_usage(parsed) if isinstance(parsed, dict) else None
    return None if usage is None else Completion(usage=usage, service_tier=usage.service_tier)


def _identified(answer: Answer, headers: Mapping[str, str], parsed: Any) -> Answer:
    """With the provider's own name for the request, by which it can be asked about."""
    name = headers.get("x-request-id") or headers.get("request-id")
    if not name and isinstance(parsed, dict):
        name = parsed.get("id")
    if not isinstance(name, str) or not name:
        return answer
    if not name.isascii():  # bytes of a header that are no UTF-8 come as surrogates, which no file takes
        name = name.encode("utf-8", "replace").decode()
    completion = msgspec.structs.replace(answer.completion or _NOTHING, request_id=name[:MOST_ID_CHARS])
    return msgspec.structs.replace(answer, completion=completion)
