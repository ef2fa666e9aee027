"""What the words of an error mean, where no code does: money, a size that never passes, a wait; in the table."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batchroute.send.classify import Answer, classify
from batchroute.send.dialects.chat import read_chat
from batchroute.send.verdict import Asked

QUOTA, LIMITED = ("fatal", "quota"), ("rate_limited", "rate_limit")
TOO_LARGE = ("refused", "too_large")


def told(
    status: int, error: Any, headers: dict[str, str] | None = None, *, asked: str = "", tokens: int = 0
) -> Answer:
    body = error if isinstance(error, dict | list) else {"error": {"message": error}}
    request = Asked(json.dumps({"messages": asked}).encode(), tokens, had_success=True)
    return classify(status, headers or {}, json.dumps(body).encode(), request, read_chat)


def meaning(answer: Answer) -> tuple[str, str | None]:
    return answer.verdict, answer.error_type


@pytest.mark.parametrize("status", [400, 403, 404, 422, 429])
@pytest.mark.parametrize(
    "message",
    [
        "Your credit balance is too low to access the Anthropic API.",
        "Your balance is used up. Add credits in the billing settings to go on.",
        "Your account has no balance left; recharge it to go on.",
        "Insufficient Balance",
        "insufficient account balance",
        "Insufficient credits. Add more using https://openrouter.example/credits",
        "Not enough credits",
        "You have run out of funds",
        "Your prepayment credits are depleted.",
        "Out of credits, please top up",
        "Please top-up your wallet",
        "You exceeded your current quota, please check your plan and billing details.",
        "Quota exceeded",
        "The monthly quota has been exceeded",
        "token quota is not enough",
        "This API method requires billing to be enabled.",
        "Payment required",
        "Your account is in arrears",
        "You have reached your specified API usage limits. You will regain access on 2026-12-01.",
        "Key limit exceeded (total limit)",
        "Budget has been exceeded! Current cost: 12.1, Max budget: 12.0",
        "Monthly spending limit reached",
        "Your team has used all credits or reached its monthly spending limit.",
        "The account is suspended, possibly for reaching the monthly spending limit or past invoices.",
        "The free tier of the model has been exhausted.",
        "Wallet is empty",
        "Your subscription has expired, renew your plan to continue",
        "You are using a trial key, which is limited to 1000 API calls / month.",
        "Ihr Guthaben ist aufgebraucht.",
        "Votre solde est insuffisant, veuillez recharger votre compte.",
        "Saldo insuficiente. Recargue su cuenta para continuar.",
        "Cr\u00e9ditos insuficientes",
        "\u6b8b\u9ad8\u304c\u4e0d\u8db3\u3057\u3066\u3044\u307e\u3059\u3002",
        "\uc794\uc561\uc774 \ubd80\uc871\ud569\ub2c8\ub2e4",
        "\u8d26\u6237\u4f59\u989d\u4e0d\u8db3\uff0c\u8bf7\u5145\u503c",
        'AnthropicException - {"error":{"message":"Your credit balance is too low to access the API."}}',
    ],
)
def test_words_of_money_in_any_4xx_stop_the_lane(status: int, message: str) -> None:
    assert meaning(told(status, message)) == QUOTA


@pytest.mark.parametrize(
    "message",
    [
        "Unknown field metadata.billing_id",
        "No provider of this model takes image input",
        "Invalid value for n: must be at most 8",
        "The request is unbalanced: 3 brackets are open",
        "See https://provider.example/account/billing/quota-exceeded for the reference",
        "Upgrade to a newer client",
        "Invalid value for balance: must be a number",
        "Unknown parameter: 'billing'.",
        "Tool `billing` was not found",
        "Payload over the size quota of 10 MB",
    ],
)
def test_other_words_do_not(message: str) -> None:
    assert meaning(told(400, message)) == ("refused", "http_400")


PROMPT = "my credit balance is too low and billing does not answer, what now"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (f"Invalid content: '{PROMPT}'", ("refused", "http_400")),
        (f'messages[0]: "{PROMPT}" is not allowed', ("refused", "http_400")),
        (f"Invalid content: {PROMPT}", ("refused", "http_400")),
        (f"Invalid content: '{PROMPT[:30]}...'", ("refused", "http_400")),
        ("Invalid schema: 'credit balance' stands twice in the enum", ("refused", "http_400")),
        ({"detail": [{"loc": ["messages"], "msg": "bad", "input": PROMPT}]}, ("refused", "http_400")),
        ({"error": {"message": f"flagged: {PROMPT}", "code": "content_filter"}}, ("refused", "content_filter")),
        (f"Invalid content: '{PROMPT}'. Your credit balance is too low to access the API.", QUOTA),
        ("Your credit balance is too low to access the API.", QUOTA),
        ("Billing", QUOTA),
    ],
)
def test_words_that_are_the_prompts_own_are_not_the_accounts(error: Any, expected: tuple[str, str]) -> None:
    assert meaning(told(400, error, asked=f"I ask: {PROMPT}?")) == expected


RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3s"}


@pytest.mark.parametrize(
    ("error", "headers", "expected", "wait_s"),
    [
        # a wait makes it a rate limit, whatever it says of billing
        ("Limit reached, see billing. Please try again in 20s.", {}, LIMITED, 20.0),
        (
            "You exceeded your current quota, check your plan and billing details.",
            {"retry-after": "7"},
            LIMITED,
            7.0,
        ),
        (
            [{"error": {"message": "Check billing", "status": "RESOURCE_EXHAUSTED", "details": [RETRY_INFO]}}],
            {},
            LIMITED,
            3.0,
        ),
        ("Please retry in 37.5s, or add credits", {"retry-after": "2"}, LIMITED, 2.0),
        # unless its code is one of quota
        ({"error": {"message": "try again in 20s", "code": "insufficient_quota"}}, {}, QUOTA, None),
        ({"error": {"message": "no", "type": "EXCEEDED_CURRENT_QUOTA_ERROR"}}, {"retry-after": "7"}, QUOTA, None),
        # so much a minute is no money
        ("Quota exceeded for requests per minute. Request an increase.", {}, LIMITED, None),
        ("Quota exceeded for online_prediction_requests_per_base_model.", {}, LIMITED, None),
        ("Rate limit reached on TPM. Add a payment method in billing to go faster.", {}, LIMITED, None),
        ("Rate limit exceeded: free-models-per-day. Add 10 credits to unlock more.", {}, LIMITED, None),
        ("Resource has been exhausted (e.g. check quota).", {}, LIMITED, None),
        ("slower", {}, LIMITED, None),
    ],
)
def test_a_429_is_a_rate_limit_or_the_end_of_the_money(
    error: Any, headers: dict[str, str], expected: tuple[str, str], wait_s: float | None
) -> None:
    got = told(429, error, headers)
    assert (meaning(got), got.retry_after_s) == (expected, wait_s)


IN_FLIGHT = {"error": {"message": "reserved", "metadata": {"limit_source": "openrouter_in_flight_budget"}}}


@pytest.mark.parametrize(
    ("error", "headers", "expected"),
    [
        (IN_FLIGHT, {"retry-after": "2"}, LIMITED),
        (IN_FLIGHT, {}, QUOTA),
        ("no credits", {"retry-after": "2"}, QUOTA),
    ],
)
def test_a_402_is_the_end_of_the_money_unless_answers_on_their_way_hold_it(
    error: Any, headers: dict[str, str], expected: tuple[str, str]
) -> None:
    assert meaning(told(402, error, headers)) == expected


@pytest.mark.parametrize(
    ("message", "headers", "tokens", "expected"),
    [
        ("Request too large for m on tokens per min (TPM): Limit 30000, Requested 42000.", {}, 0, TOO_LARGE),
        ("Request too large, try again in 2s", {"retry-after": "2"}, 0, TOO_LARGE),
        ("The prompt is too long for your tier", {}, 0, TOO_LARGE),
        ("Limit 30000, Used 0, Requested 42000", {"retry-after": "2"}, 0, TOO_LARGE),
        ("limit: 30,000, requested: 42,000", {}, 0, TOO_LARGE),
        ("Requested=42000, Limit=30000", {}, 0, TOO_LARGE),
        ("This request needs 42000 tokens, your limit is 30000 a minute", {}, 0, TOO_LARGE),
        ("You requested 42000 tokens; the limit is 30000.", {}, 0, TOO_LARGE),
        ("Limit 30000, Used 29000, Requested 2000. Please try again in 2s.", {}, 0, LIMITED),
        (
            "Rate limit reached for gpt-4 in organization o: Limit 30000, Used 29999, Requested 2000",
            {},
            0,
            LIMITED,
        ),
        ("requested 9000 tokens > limit 8000", {"retry-after": "5"}, 0, TOO_LARGE),
        ("A request may not have more tokens than fit a minute (9,000 > 8,000).", {}, 0, TOO_LARGE),
        ("Request tokens (60,000) exceed your per-minute limit of 40,000.", {"retry-after": "9"}, 0, TOO_LARGE),
        ("The input token count (1200000) exceeds what is allowed per minute (1000000).", {}, 0, TOO_LARGE),
        ("Your request of 900 tokens exceeds the maximum of 8000 within this minute.", {}, 0, LIMITED),
        ("Token usage of this request's minute: 45000 exceeds 40000", {}, 0, LIMITED),
        ("Input tokens used so far: 45000 > 40000", {}, 0, LIMITED),
        ("61 requests > 60 requests", {}, 0, LIMITED),
        ("This request would exceed your limit of 40,000 input tokens per minute.", {}, 0, LIMITED),
        ("Limit 3, Used 3, Requested 1", {}, 0, LIMITED),
        ("Overloaded: the request queue is too long", {}, 0, LIMITED),
        ("slower", {"x-ratelimit-limit-tokens": "30000"}, 42_000, TOO_LARGE),
        ("slower", {"x-ratelimit-limit-tokens": "30000", "retry-after": "2"}, 42_000, TOO_LARGE),
        ("slower", {"x-ratelimit-limit-tokens": "30000"}, 2000, LIMITED),
        ("slower", {"x-ratelimit-limit-tokens": "0"}, 2000, LIMITED),
        ("slower", {"x-ratelimit-limit-tokens": "unlimited"}, 2000, LIMITED),
        ("slower", {}, 2000, LIMITED),
    ],
)
def test_a_429_that_can_never_pass_refuses_the_row(
    message: str, headers: dict[str, str], tokens: int, expected: tuple[str, str]
) -> None:
    got = told(429, message, headers, tokens=tokens)
    assert meaning(got) == expected
    assert got.retry_after_s is None or expected == LIMITED


@pytest.mark.parametrize(
    ("status", "error", "headers", "wait_s"),
    [
        (503, "try again in 20s", {}, 20.0),
        (498, "capacity", {"retry-after": "5"}, 5.0),
        (499, "cancelled", {"retry-after": "5"}, 5.0),
        (400, "try again in 20s", {}, None),
        (401, "try again in 20s", {"retry-after": "5"}, None),
        (429, {"error": {"details": [RETRY_INFO]}}, {"retry-after": "5"}, 5.0),
        (429, {"error": {"details": [{"retryDelay": 3}, "x"], "message": "try again in 4s"}}, {}, 4.0),
        (429, {"error": {"message": "slower", "retry_after": 2}}, {}, 2.0),
        (429, {"message": "slower", "retry_after_ms": 1500}, {}, 1.5),
        (429, {"error": {"message": "slower", "metadata": {"retry_after_seconds": 7}}}, {}, 7.0),
        (429, {"error": {"message": "try again in 4s", "retry_after": True}}, {}, 4.0),
        (429, {"error": {"message": "try again in 4s", "retry_after": -1}}, {}, 4.0),
        (429, {"error": {"message": "try again in 4s", "retry_after": 1e300}}, {}, 4.0),
    ],
)
def test_only_a_row_that_is_asked_again_waits(
    status: int, error: Any, headers: dict[str, str], wait_s: float | None
) -> None:
    assert told(status, error, headers).retry_after_s == wait_s
