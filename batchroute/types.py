"""The vocabulary: what a row is on its way from the input to the results.

Knows nothing of files, networks or models; everything imports it and it imports none of ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Vectors: TypeAlias = NDArray[np.float32]

Side = Literal["strong", "weak"]
RouteReason = Literal["score", "budget", "override", "too_long", "check", "finish", "away"]
DeliveryMode = Literal["live", "batch"]
# Why a row was never sent: the input's fault, longer than its side takes, or of unknown length under a budget.
RefusalType = Literal["bad_row", "too_long", "unbounded"]
# Done are the first two; failed rows are asked again by the next run, open ones were begun and left undone.
Status = Literal["ok", "refused", "failed", "open"]
# How an answer can end otherwise than at its own end; and what the job makes of that.
Finish = Literal["length", "content_filter", "refusal"]
OnFinish = Literal["keep", "refuse", "other"]
# What a pilot shows: the share to send strong, that the weak side alone will do, that nothing less than all strong
# could be shown, or that the weak side is the better one.
Verdict = Literal["route", "all weak", "all strong", "weak is better"]
# What a pilot does: asks both sides, has a model judge the answers, or finds the share that goes strong.
PilotStage = Literal["asking", "judging", "deciding"]
# What a lane does, or waits for: the end of a pause after a 429, its own limits, a service tier that is full, an
# endpoint that is away, money that answers in flight may give back, the time to ask rows again, scores or rows of
# another lane.
Doing = Literal[
    "sending", "rate_limited", "paced", "tier_full", "away", "no_money", "retrying", "waiting", "done", "stopped"
]

SIDES: tuple[Side, Side] = ("strong", "weak")
HIGHEST_THRESHOLD = math.nextafter(1, 2)  # that of a share of 0: scores lie in [0, 1], and none reaches it


@dataclass(frozen=True, slots=True)
class LaneState:
    """What a lane does now. `reason`: what an endpoint that is away says, or why the lane stopped.

    `next_try_s` is how long it waits at least, `gives_up_s` when it stops if nothing changes; None: not known.
    `away` names those of its `addresses` that are away, where it has several.
    """

    doing: Doing = "sending"
    reason: str = ""
    next_try_s: float | None = None
    gives_up_s: float | None = None
    away: tuple[str, ...] = ()
    addresses: int = 1


@dataclass(frozen=True, slots=True)
class PilotProgress:
    """How far a pilot is: of `wanted` answers, or verdicts while judging, `done` have come."""

    stage: PilotStage
    done: int = 0
    wanted: int = 0


@dataclass(frozen=True, slots=True)
class StopReason:
    """Why a lane stops: in a few words, what was said or found, and what to do about it.

    `doing` is its state from then on; `is_vague`: the cause says little without what was said. As text:
    "key rejected (HTTP 401: no such key); check it, then run again".
    """

    cause: str
    detail: str = ""
    advice: str = ""
    doing: Doing = "stopped"
    is_vague: bool = False

    @property
    def brief(self) -> str:
        """The same without what was said, but for a vague cause."""
        if self.is_vague:
            return str(self)
        cause = "no money for the next row" if self.doing == "no_money" else self.cause
        return f"{cause}; {self.advice}" if self.advice else cause

    def __str__(self) -> str:
        what = f"{self.cause} ({self.detail})" if self.detail else self.cause
        return f"{what}; {self.advice}" if self.advice else what


class Media(msgspec.Struct, frozen=True, array_like=True):
    """How many parts of a row's messages are no text; `images` are those whose detail is auto or not said."""

    images: int = 0
    high_images: int = 0
    low_images: int = 0
    others: int = 0


class Prompt(msgspec.Struct, frozen=True):
    """One input row, ready to be sent, or refused before that.

    `messages` is the JSON array of chat messages, `params` the row's own fields of the request body,
    `keep` its kept columns as one message (see `kept`; empty when no column is kept).
    `media` are parts that are no text, `inlined_bytes` of the messages are theirs.
    `refusal` says why the row can never be asked, `refusal_type` what kind of reason that is; the other fields are
    then best effort.
    """

    file: str
    row: int
    id: str | None
    messages: bytes
    params: dict[str, Any] | None = None
    keep: bytes = b""
    refusal: str | None = None
    refusal_type: RefusalType = "bad_row"
    media: Media | None = None
    inlined_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Questions:
    """The columns that scoring needs of n consecutive input rows; entry i of each belongs to row i.

    `texts` is what the router reads ("" where refused), `forced` the side a row demands for itself,
    `chars` the characters of the whole request (for token estimates), `media` what of it is no text, `vectors`
    [n, dim] float32 where the input brings its own embeddings.
    """

    texts: list[str]
    ids: list[str | None]
    forced: list[Side | None]
    refused: NDArray[np.bool_]
    chars: NDArray[np.int64]
    vectors: Vectors | None = None
    media: Sequence[Media | None] = ()  # empty where no row has any

    def batches(self, size: int) -> Iterator[Questions]:
        """Consecutive parts of up to `size` rows; `vectors` are sliced, not copied."""
        for start in range(0, len(self.texts), size):
            rows = slice(start, start + size)
            yield Questions(
                texts=self.texts[rows],
                ids=self.ids[rows],
                forced=self.forced[rows],
                refused=self.refused[rows],
                chars=self.chars[rows],
                vectors=None if self.vectors is None else self.vectors[rows],
                media=self.media[rows],
            )


class Usage(msgspec.Struct, frozen=True):
    """What one or several attempts were billed for; None where the provider did not say.

    Tokens as OpenAI counts them: those read from and written to a cache are inside `prompt_tokens`, reasoning
    tokens inside `completion_tokens`. What decides the price of one attempt beside them is the tier of service,
    the model that answered, `reported_usd`, the provider's own word on the cost, how many of the tokens written to
    a cache stay there for an hour, which costs more than five minutes, and how many of the prompt's are sound; a
    sum over several has none of these.
    """

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    cache_write_tokens: int | None = None
    service_tier: str | None = None
    served_model: str | None = None
    reported_usd: float | None = None
    cache_write_1h_tokens: int | None = None
    audio_tokens: int | None = None

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            _plus(self.prompt_tokens, other.prompt_tokens),
            _plus(self.cached_tokens, other.cached_tokens),
            _plus(self.completion_tokens, other.completion_tokens),
            _plus(self.reasoning_tokens, other.reasoning_tokens),
            _plus(self.cache_write_tokens, other.cache_write_tokens),
        )


TOKEN_COUNTS = (
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cache_write_tokens",
)


def _plus(a: int | None, b: int | None) -> int | None:
    """What is known of a sum: an attempt without usage adds nothing that could be counted."""
    if a is None:
        return b
    return a if b is None else a + b


class Completion(msgspec.Struct, frozen=True):
    """The first choice of an answer, and what it was billed; `request_id` is the provider's, to ask it about."""

    served_model: str | None = None
    response: str | None = None
    reasoning: str | None = None
    tool_calls: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    refusal: str | None = None
    service_tier: str | None = None
    request_id: str | None = None


class RowEnd(msgspec.Struct, frozen=True, array_like=True, tag=2, kw_only=True):
    """The beginning of every `Result`, by itself: which row it is of, and how that ended."""

    file: str
    row: int
    status: Status


class Result(RowEnd, frozen=True, array_like=True, tag=2, kw_only=True):
    """One settled row: the result columns, `keep` still as in `Prompt`.

    `cost_usd` None means that price or usage is unknown; `finished_at` is microseconds since the epoch, UTC.
    `fingerprint` tells which request an ok row answers; it is no column.

    The order of the fields is the journal's format, and `tag` its number: a journal has rows as arrays of the tag
    and these fields. A field that is added, moved or removed makes a new format (see `store.journal`).
    """

    id: str | None
    score: float | None
    route: str | None
    route_reason: RouteReason | None
    model: str | None
    served_model: str | None = None
    response: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    attempts: int
    latency_s: float | None = None
    error_type: str | None = None
    error: str | None = None
    finished_at: int
    request_id: str | None = None
    service_tier: str | None = None
    delivery: DeliveryMode | None = None
    raw: str | None = None
    keep: bytes = b""
    fingerprint: bytes = b""


class Router(Protocol):
    """Scores prompts: the probability that the strong model's answer beats the weak one's."""

    def score(self, prompts: Sequence[str]) -> Floats:
        """[n] scores in [0, 1] for n prompts, each independent of its neighbours in the batch."""
        ...


class Embedder(Protocol):
    """Turns texts into vectors."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """[n, dim] float32 for n texts, each independent of its neighbours in the batch."""
        ...
