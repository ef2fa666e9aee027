"""What an error means: SPEC's table.

Decides on what `fault` has read. Knows neither where an error stood in an answer nor what follows from a verdict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from batchroute.send.fault import is_about_the_body, is_too_large, plain_code, speaks_of_money, speaks_of_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from batchroute.send.fault import Fault

Verdict = Literal[
    "ok",
    "rate_limited",  # slow down, then again
    "busy",  # the service tier is full: again, later or at another tier
    "transient",  # again
    "expired",  # again, with the key that is good now
    "elsewhere",  # again, at another address
    "malformed",  # again, but once only
    "refused",  # never for this row
    "fatal",  # never for this lane
    "over_budget",  # not sent: it may cost more than is left
]

WAITING = frozenset({"rate_limited", "busy", "transient"})  # a wait that the server asks for counts


class Asked(msgspec.Struct, frozen=True, gc=False):
    """What is known of the request that an answer is to.

    `tokens` estimates its input, 0 where that is not known; `had_success`: the lane has had an ok answer before.
    """

    body: bytes
    tokens: int
    had_success: bool


class Told(NamedTuple):
    """An error with its status, and what its headers say: the wait, the tokens a minute that the account has.

    `codes` are the error's, each in its one spelling.
    """

    status: int
    codes: frozenset[str]
    fault: Fault
    wait_s: float | None
    limit_tokens: int | None
    asked: Asked


def _codes(*codes: str) -> frozenset[str]:
    return frozenset(map(plain_code, codes))


_QUOTA = _codes(
    "insufficient_quota",
    "insufficient_user_quota",
    "exceeded_current_quota_error",
    "quota_exceeded",
    "billing_hard_limit_reached",
    "billing_not_active",
    "billing_disabled",
    "billing_error",
    "insufficient_balance",
    "insufficient_balance_error",
    "insufficient_credits",
    "insufficient_funds",
    "account_overdue_error",
    "budget_exceeded",
    "arrearage",
    # Anthropic's, in `error.details`; `ramp_limit_exceeded` beside them is a rate limit.
    "contract_spend_limit_reached",
    "enforced_spend_limit_reached",
    "linked_organization_spend_limit_reached",
)
_KEY = _codes("invalid_api_key", "api_key_invalid")
_CONTENT = _codes(
    "content_filter",
    "content_policy_violation",
    # OpenAI's, of a response that failed
    "bio_policy",
    "image_content_policy_violation",
    "misalignment_policy_violation",
)
# Of a response that failed for what it was asked; the types of openai-python 3.57 list them (`response_error`).
_INPUT = _codes(
    "invalid_prompt",
    "data_residency_mismatch",
    "empty_image_file",
    "image_file_not_found",
    "image_file_too_large",
    "image_parse_error",
    "image_too_large",
    "image_too_small",
    "invalid_base64_image",
    "invalid_image",
    "invalid_image_format",
    "invalid_image_mode",
    "invalid_image_url",
    "unsupported_image_media_type",
)
_LENGTH = _codes("context_length_exceeded")
_PERMISSION = _codes("permission_denied", "permission_error", "access_denied", "account_deactivated")
_FULL = _codes("capacity_exceeded", "resource_unavailable")
_SLOW_DOWN = _codes("slow_down")
_IN_FLIGHT = _codes("openrouter_in_flight_budget")  # money that is reserved for answers on their way

# The status an error code in words stands for: it counts where the code comes inside a 200.
_STATUS_OF_CODE = {
    **dict.fromkeys(_codes("authentication_error") | _KEY, 401),
    **dict.fromkeys(_codes("model_not_found"), 404),
    **dict.fromkeys(_codes("rate_limit_exceeded", "rate_limit_error", "resource_exhausted"), 429),
    **dict.fromkeys(_codes("resource_unavailable") | _SLOW_DOWN | _QUOTA, 429),
    **dict.fromkeys(_codes("capacity_exceeded"), 498),
    **dict.fromkeys(_codes("overloaded_error"), 529),
    **dict.fromkeys(_CONTENT | _LENGTH | _INPUT, 400),
    **dict.fromkeys(_PERMISSION, 403),
}


def status_of(fault: Fault) -> int | None:
    """The HTTP status that an error names itself; None where it does not."""
    codes = [plain_code(code) for code in fault.codes]
    words = (_STATUS_OF_CODE[code] for code in codes if code in _STATUS_OF_CODE)
    numbers = (int(code) for code in codes if len(code) == 3 and code.isascii() and code.isdigit())
    return next(words, None) or next((number for number in numbers if 400 <= number < 600), None)


def is_money(fault: Fault, asked: Asked) -> bool:
    """Whether an error says that the account has run dry, in its message or in a code such as out_of_credits."""
    return speaks_of_money(fault.message, asked.body) or any(
        speaks_of_money(code.replace("_", " ")) for code in fault.codes
    )


def _is_first(told: Told) -> bool:
    return not told.asked.had_success


def _names_a_wait(told: Told) -> bool:
    return told.wait_s is not None


def _can_never_pass(told: Told) -> bool:
    return is_too_large(told.fault.message) or 0 < (told.limit_tokens or 0) < told.asked.tokens


def _is_about_the_body(told: Told) -> bool:
    return is_about_the_body(told.fault.message)


def _speaks_of_money(told: Told) -> bool:
    if told.status == 429 and speaks_of_rate(told.fault.message):
        return False
    return is_money(told.fault, told.asked)


class _Rule(NamedTuple):
    """Holds for these statuses, where one of the codes is there (if any are named), and if `when` does, too."""

    verdict: Verdict
    error_type: str
    statuses: Container[int] = range(1000)
    codes: frozenset[str] = frozenset()
    when: Callable[[Told], bool] | None = None

    def holds(self, told: Told) -> bool:
        return (
            told.status in self.statuses
            and (not self.codes or not self.codes.isdisjoint(told.codes))
            and (self.when is None or self.when(told))
        )


# The first that holds counts. A code is more precise than any status: quota on a 429, a filter on a 403.
_RULES = (
    _Rule("rate_limited", "rate_limit", {402}, _IN_FLIGHT, _names_a_wait),
    _Rule("fatal", "quota", codes=_QUOTA),
    _Rule("fatal", "quota", {402}),
    _Rule("refused", "context_length", codes=_LENGTH),
    _Rule("refused", "content_filter", codes=_CONTENT),
    _Rule("refused", "too_large", {429}, when=_can_never_pass),
    _Rule("busy", "busy", {498}),
    _Rule("busy", "busy", {429}, _FULL),
    _Rule("rate_limited", "rate_limit", codes=_SLOW_DOWN),
    _Rule("rate_limited", "rate_limit", {429}, when=_names_a_wait),
    _Rule("fatal", "quota", range(400, 500), when=_speaks_of_money),
    _Rule("rate_limited", "rate_limit", {429}),
    _Rule("refused", "http_{}", {500}, when=_is_about_the_body),
    _Rule("transient", "http_{}", {408, 409, 423, 424, 425, 499, *range(500, 1000)}),
    _Rule("fatal", "invalid_key", {401}),
    _Rule("fatal", "invalid_key", {400, 403}, _KEY),
    _Rule("fatal", "not_found", {404}, when=_is_first),
    _Rule("fatal", "permission", {403}, when=_is_first),
    _Rule("fatal", "permission", {403}, _PERMISSION),
    _Rule("refused", "http_{}"),
)


def judge(told: Told) -> tuple[Verdict, str]:
    """The verdict on an error, and its error_type."""
    rule = next(rule for rule in _RULES if rule.holds(told))
    return rule.verdict, rule.error_type.format(told.status)
