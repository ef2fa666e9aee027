"""An error as providers send it, in whatever shape: its codes, what it says, how long it asks to wait.

And what its words mean where no code does. Knows no verdicts: those stand in `classify`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from batchroute.send.waits import EPOCH_S, duration_s, told_wait_s

if TYPE_CHECKING:
    from collections.abc import Iterator

MESSAGE_CHARS = 1000  # of a provider's error text are kept


class Fault(NamedTuple):
    """An error: its codes as they are written, what it says, and the wait that its text asks for."""

    codes: tuple[str, ...]
    message: str
    wait_s: float | None = None


_CODES = ("code", "type", "status", "error_type", "error_code", "status_code")
_PRECISE = ("reason", "error_code", "limit_source")
_TEXTS = ("message", "detail", "msg", "status_msg", "error_description")
_WAITS = {"retry_after": 1.0, "retry_after_seconds": 1.0, "retryAfter": 1.0, "retry_after_ms": 0.001}
_NO_CODES = frozenset({"", "0", "200", "null", "none", "ok", "success"})
_LONGEST_CODE = 64
_NOT_IN_CODES = str.maketrans("", "", " _-.")
# MiniMax answers everything with 200, and a number of its own in `base_resp.status_code`.
_MINIMAX = {
    1002: "rate_limit_exceeded",
    1004: "invalid_api_key",
    1008: "insufficient_balance",
    1026: "content_filter",
    1027: "content_filter",
    1039: "rate_limit_exceeded",
    2013: "400",
    2049: "invalid_api_key",
}


def read_fault(parsed: Any, body: bytes = b"") -> Fault:
    """The error in an answer; `body` is its text, for what is no JSON."""
    outer = parsed if isinstance(parsed, dict) else {}
    error = _innermost(parsed)
    inner = error if isinstance(error, dict) else {}
    message = _message(error, outer) or body[: 4 * MESSAGE_CHARS].decode("utf-8", "replace").strip()
    codes = dict.fromkeys([*_codes(inner), *_codes(outer), *_codes({"code": error})])
    return Fault(tuple(codes), message[:MESSAGE_CHARS] or "no message", _wait_s(inner, message))


def says_something(error: Any) -> bool:
    """Whether the `error` in an answer is one: gateways write an empty one beside an answer that is good."""
    error = error[0] if isinstance(error, list) and len(error) == 1 else error
    if isinstance(error, dict):
        return any(error.get(name) for name in (*_TEXTS, "type")) or any(_codes(error))
    return isinstance(error, str) and bool(error.strip())


def plain_code(code: str) -> str:
    """The same for insufficient_quota, INSUFFICIENT_QUOTA and InsufficientQuota."""
    return code.translate(_NOT_IN_CODES).lower()


def _innermost(parsed: Any) -> Any:
    """What stands in `error`, also where gateways put one into another, the first of several; else the whole."""
    error = parsed
    for _ in range(4):
        if isinstance(error, list) and error:
            error = error[0]
        inner = _inner(error) if isinstance(error, dict) else None
        if not inner:
            break
        error = inner
    return error


def _inner(error: dict[str, Any]) -> Any:
    return error.get("error") or error.get("errors") or error.get("base_resp")


def _codes(error: dict[str, Any]) -> Iterator[str]:
    """Codes by all their names, numbers too; and the more precise ones of Google, Anthropic and OpenRouter."""
    details = error.get("details")
    parts = (error.get("metadata"), *(details if isinstance(details, list) else (details,)))
    precise = (part.get(name) for part in parts if isinstance(part, dict) for name in _PRECISE)
    for value in (*(error.get(name) for name in _CODES), *precise):
        code = _code(value)
        if code.lower() not in _NO_CODES and len(code) <= _LONGEST_CODE:
            yield code


def _code(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 10**6:
        return ""
    return _MINIMAX.get(int(value), str(int(value)))


def _message(error: Any, outer: dict[str, Any]) -> str:
    told = error
    if isinstance(error, dict):
        told = next((error[name] for name in _TEXTS if error.get(name)), error)
    elif isinstance(error, str) and " " not in error.strip():  # a code; the words stand beside it
        told = next((outer[name] for name in _TEXTS if outer.get(name)), error)
    text = told if isinstance(told, str) else "" if told is None else json.dumps(told, ensure_ascii=False)
    return f"{text.strip()}{_upstream(error)}"


def _upstream(error: Any) -> str:
    """What the provider behind OpenRouter said, whose own words are "Provider returned error"."""
    metadata = error.get("metadata") if isinstance(error, dict) else None
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    return f": {raw}" if isinstance(raw, str) and raw else ""


def _wait_s(error: dict[str, Any], message: str) -> float | None:
    """Google's RetryInfo, else a field that gateways have for it, else what the message says."""
    details = error.get("details")
    for part in details if isinstance(details, list) else ():
        delay = part.get("retryDelay") if isinstance(part, dict) else None
        if isinstance(delay, str) and (wait := duration_s(delay)) is not None:
            return wait
    metadata = error.get("metadata")
    for part in (error, metadata if isinstance(metadata, dict) else {}):
        for name, unit_s in _WAITS.items():
            wait = part.get(name)
            if isinstance(wait, int | float) and not isinstance(wait, bool) and 0 <= wait * unit_s < EPOCH_S:
                return float(wait) * unit_s
    return told_wait_s(message)


_MONEY = re.compile(
    r"""
    \b(?:credit|account|prepaid|wallet)\s+balance\b
    | \bbalance\b.{0,30}\b(?:low|insufficient|not\ enough|zero|negative|empty|exhausted|depleted|used\ up)\b
    | \b(?:insufficient|no|not\ enough|low|negative|zero|out\ of)\s+(?:\w+\s+){0,3}(?:balance|credits?|funds)\b
    | \bwallet\ (?:is\ )?(?:empty|exhausted|depleted)\b
    | \b(?:subscription|plan|trial)\ (?:has\ |is\ )?(?:expired|ended|over|lapsed)\b
    | \b(?:calls?|requests?|tokens|units)\ ?(?:/|per|a)\ ?month\b
    | \b(?:credits?|funds)\b.{0,30}\b(?:low|insufficient|empty|exhausted|depleted|used\ up|run\ out|expired)\b
    | \b(?:add|buy|purchase|refill)\s+(?:\w+\s+){0,2}(?:credits?|funds)\b
    | \brecharg(?:e|ing)\b | \btop(?:ping)?[\ -]?up\b
    | \bbilling\b | \bpayment\ (?:is\ )?(?:required|due|overdue|failed|declined)\b
    | \b(?:unpaid|overdue|arrears|arrearage)\b | \bpast\ (?:due|invoices?)\b
    | \bfree\ (?:tier|trial|quota|credits?)\b.{0,40}\b(?:exhausted|expired|used\ up|ended|over)\b
    | \b(?:exceeded|exhausted|used\ up|reached|over|out\ of|insufficient)\s+(?:\w+\s+){0,3}(?<!size\ )quota\b
    | \bquota\s+(?:\w+\s+){0,3}(?:exceeded|exhausted|used\ up|reached|depleted|insufficient|not\ enough)\b
    | \b(?:usage|spend(?:ing)?|credit|key|monthly)\ (?:limits?|caps?)\s+(?:\w+\s+){0,3}(?:exceeded|reached)\b
    | \b(?:exceeded|reach(?:ed|ing)|hit)\s+(?:\w+\s+){0,4}(?:usage|spend(?:ing)?|credit|monthly)\ (?:limit|cap)s?\b
    | \bbudget\s+(?:\w+\s+){0,3}exceeded\b | \bexceeded\s+(?:\w+\s+){0,3}budget\b
    | \u4f59\u989d\u4e0d\u8db3 | \u989d\u5ea6\u4e0d\u8db3  # no balance, no quota
    | \u6b20\u8d39 | \u5145\u503c  # arrears, recharge
    | \u6b8b\u9ad8.{0,4}\u4e0d\u8db3  # Japanese: no balance
    | \uc794\uc561.{0,4}\ubd80\uc871  # Korean: no balance
    | \b(?:solde|saldo)\s+(?:\w+\s+){0,3}(?:insuffisante?|insuficiente|insufficiente|agotado|esgotado|esaurito)\b
    | \bcr[e\u00e9]dito?s?\s+(?:\w+\s+){0,3}(?:insuffisants?|insuficientes?|[e\u00e9]puis[e\u00e9]s?|agotados?)\b
    | \bguthaben\s+(?:\w+\s+){0,3}(?:aufgebraucht|ersch\u00f6pft|leer|nicht|reicht|zu\ niedrig)\b
    | \b(?:nicht\ gen\u00fcgend|unzureichendes|kein)\ guthaben\b
    """,
    re.VERBOSE | re.IGNORECASE,
)
_URL = re.compile(r"https?://\S+")
_BREAKS = "\"'`\u2018\u2019\u201c\u201d\n\\:;{}[]()"  # around a passage that a message has from elsewhere
_QUOTES = tuple("\"'`\u2018\u2019\u201c\u201d")
_ENDS = " .,!?\u2026"


def speaks_of_money(message: str, asked: bytes = b"") -> bool:
    """Whether an error says that the account has run dry, or may spend no more.

    `asked` is the request's body: words that the message only repeats from there are the user's own.
    """
    # "Invalid content: 'my credit balance is too low, what now?'" speaks of money; but the passage between its
    # quotes stands in the request. "Your credit balance is too low to access the API." does not. And in "Unknown
    # parameter: 'billing'" a single word in quotes is a name.
    told = _URL.sub(" ", message)
    return any(not _is_repeated(told, match, asked) for match in _MONEY.finditer(told))


def _is_repeated(message: str, match: re.Match[str], asked: bytes) -> bool:
    if message[match.start() - 1 : match.start()] in _QUOTES and message[match.end() : match.end() + 1] in _QUOTES:
        words = match.group()
        return words.isalpha() or words.encode() in asked
    begin = max(message.rfind(mark, 0, match.start()) for mark in _BREAKS) + 1
    end = min((at for mark in _BREAKS if (at := message.find(mark, match.end())) >= 0), default=len(message))
    passage = message[begin:end].strip(_ENDS)
    is_a_part = len(match.group()) < len(passage) < len(message.strip(_ENDS))
    return is_a_part and passage.encode() in asked


_RATE = re.compile(r"\brate[ -]?limit|\bper[ _-](?:second|minute|min|hour)|_per_|\b[rtq]p[ms]\b", re.IGNORECASE)
_TOO_LARGE = re.compile(
    r"\b(?:request|prompt|input|message|body|payload|context)s?\s+(?:(?:is|was|body|size|payload)\s+){0,2}"
    r"too\ (?:large|long|big)\b",
    re.IGNORECASE,
)
_NUMBER = r"(\d{1,3}(?:,\d{3})+|\d{1,12})"
_LIMIT = rf"\blimit(?:\s+(?:is|of))?[:=]?\s*{_NUMBER}"
_REQUESTED = rf"\b(?:requested|requires|needs|asked for|contains)[:=]?\s*{_NUMBER}"
_LIMIT_FIRST = re.compile(rf"{_LIMIT}\b.{{0,60}}?{_REQUESTED}", re.IGNORECASE)
_REQUESTED_FIRST = re.compile(rf"{_REQUESTED}\b.{{0,60}}?{_LIMIT}", re.IGNORECASE)
_EXCEEDS = re.compile(
    rf"\b(?:request|prompt|input|message)\b[^.!?\d]{{0,40}}\b{_NUMBER}\b[^.!?\d]{{0,20}}\bexceed(?:s|ed|ing)?\b"
    rf"[^.!?\d]{{0,60}}\b{_NUMBER}\b",
    re.IGNORECASE,
)
_GREATER = re.compile(rf"\b{_NUMBER}(?:\s+tokens)?\s*>\s*(?:[a-z]+\s+){{0,2}}{_NUMBER}\b", re.IGNORECASE)
_SO_FAR = re.compile(r"\b(?:us(?:ed|age)|current(?:ly)?|requests)\b", re.IGNORECASE)


def speaks_of_rate(message: str) -> bool:
    """Whether it is about so much a minute, which money is not."""
    return _RATE.search(message) is not None


def is_about_the_body(message: str) -> bool:
    """Whether an error is pydantic's on a field of the request, which some servers answer as one of their own."""
    return "'loc': ('body'" in message


def is_too_large(message: str) -> bool:
    """Whether a request asks for more at once than a limit ever allows: "Limit 30000, Requested 42000"."""
    if _TOO_LARGE.search(message):
        return True
    if match := _LIMIT_FIRST.search(message):
        limit, requested = match.groups()
    elif match := _REQUESTED_FIRST.search(message) or _greater(message):
        requested, limit = match.groups()
    else:
        return False
    return int(requested.replace(",", "")) > int(limit.replace(",", ""))


def _greater(message: str) -> re.Match[str] | None:
    """So many tokens where fewer are allowed: of one request, not of all within a minute."""
    if "token" not in message.lower() or _SO_FAR.search(message):
        return None
    return _EXCEEDS.search(message) or _GREATER.search(message)
