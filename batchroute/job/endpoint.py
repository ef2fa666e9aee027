"""An endpoint: where requests go, what goes into them, what they may use and cost.

Knows no files and no environment; every field's description and resume rule is the README's table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from batchroute.job.kinds import (
    BaseUrls,
    Count,
    EnvName,
    Fraction,
    HeaderName,
    NotNegative,
    Positive,
    Text,
    Usd,
    wrong,
)
from batchroute.job.section import Section, fixed, free
from batchroute.job.tiers import AUTO, asked_tier
from batchroute.types import Finish, OnFinish

if TYPE_CHECKING:
    from collections.abc import Sequence


class EnvRef(Section):
    """A header's value that stands in an environment variable, or in the file that NAME_FILE names."""

    env: EnvName


def _header(value: Any) -> str | EnvRef:
    if isinstance(value, EnvRef):
        return value
    if isinstance(value, str) and value.isprintable() and value.isascii():
        return value
    if isinstance(value, dict) and value.keys() == {"env"}:
        return EnvRef(env=value["env"])
    raise wrong('must be a plain text or { env = "NAME" }')


Header: TypeAlias = Annotated[str | EnvRef, BeforeValidator(_header)]


class InputPrice(Section):
    """USD per million tokens of a model that answers without any."""

    input: Usd = free(..., "USD per million tokens")


class TierPrice(Section):
    """USD per million tokens."""

    input: Usd = free(..., "USD per million input tokens")
    cached_input: Usd | None = free(None, "the same for cached input; `input` when not given")
    cache_write: Usd | None = free(
        None, "the same for input written to a cache; `input` times the model's known factor when not given"
    )
    output: Usd = free(..., "USD per million output tokens")


class Price(TierPrice):
    """The same, which holds for every tier of service that is not among `tiers`."""

    tiers: dict[Text, TierPrice] = free({}, "prices of single tiers of service, such as tiers.flex")


class SimulateSpec(Section):
    """A built-in fake provider on loopback."""

    latency_s: NotNegative = fixed(0.3, "time an answer takes")
    jitter_s: NotNegative = fixed(0.0, "most that is added to it at random")
    error_rate: Fraction = fixed(0.0, "share of requests answered 500")
    rate_limit_rate: Fraction = fixed(0.0, "share of requests answered 429")
    requests_per_minute: Count | None = fixed(None, "limit it holds on requests")
    tokens_per_minute: Count | None = fixed(None, "limit it holds on tokens")
    seed: int = fixed(0, "seed of its chance", ge=0)
    skill: Fraction | None = fixed(
        None, "how good its answers are: the share of four-step sums, such as 17 * 23, it gets right; else padding"
    )
    response_tokens: Count = fixed(150, "tokens of a middling answer")
    busy: dict[Text, Fraction] = fixed({}, "service tier to the share of its requests it is full for")


class OnFinishSpec(Section):
    """What becomes of an answer that did not end by itself; other: the other side is asked."""

    length: OnFinish = free("keep", "of an answer cut at the token bound")
    content_filter: OnFinish = free("keep", "of one that a filter cut")
    refusal: OnFinish = free("keep", "of one in which the model refuses")

    def decided(self) -> dict[Finish, OnFinish]:
        """What is not simply kept."""
        found: dict[Finish, OnFinish] = {
            "length": self.length,
            "content_filter": self.content_filter,
            "refusal": self.refusal,
        }
        return {finish: action for finish, action in found.items() if action != "keep"}


def all_addresses(base_url: str | Sequence[str] | None) -> tuple[str, ...]:
    """One, several or none."""
    if base_url is None:
        return ()
    return (base_url,) if isinstance(base_url, str) else tuple(base_url)


class EndpointSpec(Section):
    """One side of the job; exactly one of `base_url` and `simulate`."""

    model: Text = fixed(..., "model asked for")
    base_url: BaseUrls | None = free(
        None, "address of the API up to /v1, or a list of several that answer alike; may carry a query"
    )
    api: Literal["chat", "responses", "anthropic"] = free(
        "chat", "what it speaks: chat (/v1/chat/completions), responses (/v1/responses), anthropic (/v1/messages)"
    )
    simulate: SimulateSpec | None = fixed(None, "a fake provider on loopback, instead of base_url")
    api_key_env: EnvName | None = free(None, "variable that holds the key, or NAME_FILE a path to it")
    api_key_command: Text | None = free(None, "command that prints the key; run again when it expires")
    api_key_header: HeaderName | None = free(None, "header for the key, instead of a bearer token")
    requests_per_minute: Count | None = free(None, "limit on requests")
    tokens_per_minute: Count | None = free(None, "limit on tokens")
    max_concurrency: Count = free(64, "most requests in flight")
    per_address: bool = free(
        False, "each address of base_url has the three limits above for itself; else they are the side's"
    )
    timeout_s: Positive = free(600.0, "time for one attempt")
    max_attempts: Count = free(6, "attempts for one row")
    max_input_tokens: Count | None = free(None, "longest row the side takes")
    on_too_long: Literal["refuse", "other"] = free("refuse", "a longer row: refuse, or the other side")
    max_media_tokens: Count | None = free(
        None, "most input tokens of an image, a sound or a file; else as the provider publishes it"
    )
    service_tier: Text | None = free(None, "tier of service to ask for: flex, auto, priority ...")
    on_busy: Literal["wait", "standard"] = free("wait", "where that tier is full: wait, or the standard tier")
    on_finish: OnFinishSpec = Field(default=OnFinishSpec(), description="answers that did not end by themselves")
    params: dict[str, Any] = fixed({}, "merged into the request body as they are")
    headers: dict[HeaderName, Header] = free({}, 'request headers; a secret one as { env = "NAME" }')
    price: Price | None = free(None, "USD per million tokens; else from the price table")

    @property
    def addresses(self) -> tuple[str, ...]:
        """All that `base_url` names; none where it is simulated."""
        return all_addresses(self.base_url)

    @property
    def times_limited(self) -> int:
        """How many times it has its limits: for each address, or once."""
        return max(1, len(self.addresses)) if self.per_address else 1

    @property
    def asked_tier(self) -> str:
        """The tier of service that its requests ask for, where a row does not ask for another."""
        return asked_tier(self.sent_params) or AUTO

    @property
    def sent_params(self) -> dict[str, Any]:
        """What goes into each body: the params, and the tier."""
        tier = {} if self.service_tier is None else {"service_tier": self.service_tier}
        return {**self.params, **tier}
