"""The settings of a simulated provider, as one value. Knows nothing of how they are acted on."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  msgspec reads the field types when a setting is changed
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Literal

import msgspec

from batchroute.errors import UsageFault

if TYPE_CHECKING:
    from typing import Any


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the provider behaves; the default is an instant, flawless one without limits.

    Rates are probabilities per request, drawn from (`seed`, prompt, how often that prompt was failed before),
    so that a run is repeatable whatever the order of arrival. Limits count admitted requests over a sliding
    minute. `retry_after_s` is what every 429 asks for; None: the true wait where a limit was hit, else none.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0  # uniform, on top of latency_s
    error_rate: float = 0.0  # status 500
    rate_limit_rate: float = 0.0  # status 429 out of the blue
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None  # prompt and completion tokens, as they will be billed
    seed: int = 0
    skill: float | None = (
        None  # how good answers are (skill.py) and verdicts (judge.py); None: padding, true verdicts
    )
    response_tokens: int = 150  # the middle of a spread of half to one and a half
    retry_after_s: float | None = None
    max_concurrency: int | None = None  # above it: 429
    api_key: str | None = field(default=None, repr=False)  # any other key, wherever it is sent: 401
    reasoning_tokens: int = 0  # on top of the visible ones, inside completion_tokens as OpenAI counts
    characters_per_token: float = 4.0  # of the prompt
    media_tokens: int = 0  # that each image, sound or file of a prompt is billed as
    honour_max_tokens: bool = True
    base64_vectors: Literal["offered", "ignored", "refused"] = "offered"
    down: bool = False  # connections are accepted, requests reset
    faults: Mapping[str, float] = field(default_factory=dict)  # name of a fault (faults.py) -> rate
    poison: Mapping[str, float] = field(default_factory=dict)  # fault -> share of prompts that get it each time
    busy: Mapping[str, float] = field(
        default_factory=dict
    )  # service tier -> share of its requests refused as full
    busy_error: str = (
        "resource_unavailable"  # the fault that a full tier answers with; Groq's is capacity_exceeded
    )
    tier_answers: Mapping[str, str | None] = field(
        default_factory=dict
    )  # tier asked for -> billed; None: not named
    other_model: str = "gpt-6-astra"  # who answers under the fault `other_model`
    own_cost_usd: float = 0.0123  # what the fault `own_cost` names and bills
    chunk_s: float = 0.0  # between the chunks of a stream
    slow_s: float = 2.0  # how long the fault `slow` takes over a body
    oversize_mb: float = 40.0  # the content of the faults `oversize` and `gzip_bomb`
    count_prompts: bool = False  # Stats.asked and Stats.billed: memory per distinct prompt
    keep_arrivals: int = 10_000  # Stats.arrivals_s
    keep_requests: int = 0  # Stats.recorded

    def __post_init__(self) -> None:
        for rates in (dict(self.rates()), self.poison):
            if any(not 0 <= rate <= 1 for rate in rates.values()) or sum(rates.values()) > 1 + 1e-9:
                raise UsageFault("the rates of a simulated provider lie in [0, 1] and add up to at most 1")
        if not 0 <= (self.skill or 0) <= 1:
            raise UsageFault("skill of a simulated provider lies in [0, 1]")
        if any(not 0 <= rate <= 1 for rate in self.busy.values()):
            raise UsageFault("busy of a simulated provider is a rate in [0, 1] for each tier")
        seconds = (self.latency_s, self.jitter_s, self.chunk_s, self.slow_s, self.retry_after_s or 0.0)
        sizes = (
            self.response_tokens,
            self.reasoning_tokens,
            self.media_tokens,
            self.keep_arrivals,
            self.keep_requests,
        )
        if min(*seconds, *sizes, self.oversize_mb, self.own_cost_usd) < 0:
            raise UsageFault("seconds and sizes of a simulated provider must not be negative")
        limits = (self.requests_per_minute, self.tokens_per_minute, self.max_concurrency)
        if any(limit is not None and limit <= 0 for limit in limits) or self.characters_per_token <= 0:
            raise UsageFault("limits and characters_per_token of a simulated provider must be positive")

    def rates(self) -> tuple[tuple[str, float], ...]:
        """Every fault that is drawn at random, in the order of the draw."""
        return (("500", self.error_rate), ("429", self.rate_limit_rate), *self.faults.items())

    def faults_named(self) -> set[str]:
        """Every fault that a setting names."""
        return {*self.faults, *self.poison, self.busy_error}

    def changed(self, changes: Mapping[str, Any]) -> Behaviour:
        """This behaviour with some settings changed; UsageFault for an unknown name or a bad value."""
        known = [setting.name for setting in fields(self)]
        unknown = sorted(set(changes) - set(known))
        if unknown:
            raise UsageFault(f"no such setting: {', '.join(unknown)}; there are {', '.join(known)}")
        try:
            return msgspec.convert({**asdict(self), **changes}, Behaviour)
        except msgspec.ValidationError as fault:
            raise UsageFault(f"settings of the simulated provider: {fault}") from fault
