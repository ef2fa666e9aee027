"""Texts -> requests for their vectors: truncated to what the model takes, grouped, encoded as JSON.

And what a 200 holds: the vectors in the order of the request, sent as base64 or as numbers. Knows no network.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from batchroute.send.allowance import Need
from batchroute.send.classify import Answer, malformed
from batchroute.send.tokens import CHARS_PER_TOKEN, estimate_tokens, find_tokenizer
from batchroute.send.usage import read_usage
from batchroute.types import Completion

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchroute.job.prices import Pricing
    from batchroute.job.spec import EmbedderSpec
    from batchroute.send.tokens import CountTokens
    from batchroute.types import Vectors

MAX_TEXTS = 2048  # OpenAI's limit on the inputs of a request
MAX_TOKENS = 300_000  # ... and on all their tokens
TEXTS_IN_FLIGHT = 16_384  # vectors of 1,536 numbers are 6 KB each, 8 KB on the wire
TOGETHER_S = 2.0  # requests that leave within this time are taken to be in flight together
# Longest input in tokens; a longer one is refused. Of other models the server has to say what is too long.
LONGEST_TOKENS = dict.fromkeys(
    ("text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002"), 8191
)
SHORTER = 0.75  # of a text that was refused as too long is tried next
SHORTEST_CHARS = 256  # of a shorter one the length is not at fault


@dataclass(frozen=True, slots=True)
class EmbedText:
    """One text to embed: as it stands in the input, and as much of it as is sent."""

    whole: str
    sent: str

    @property
    def most_tokens(self) -> int:
        """Its bytes: no tokenizer makes more tokens of them."""
        return len(self.sent.encode("utf-8", "replace"))

    def shortened(self) -> EmbedText:
        return EmbedText(self.whole, self.sent[: int(len(self.sent) * SHORTER)])


class EmbedRequest(msgspec.Struct, frozen=True):
    """One request: the texts it asks for, in their order, and what a lane has to know of it."""

    texts: tuple[EmbedText, ...]
    body: bytes
    tokens: int
    most_usd: Decimal
    as_base64: bool
    shard: int = 0
    attempts: int = 0

    @property
    def need(self) -> Need:
        return Need(self.tokens, self.most_usd, self.shard)


def texts_per_request(spec: EmbedderSpec) -> int:
    """As many as keep all the requests that may be in flight busy, with a bounded number of texts in flight."""
    in_flight = spec.max_concurrency
    if spec.requests_per_minute is not None:
        in_flight = min(in_flight, -int(-spec.requests_per_minute * TOGETHER_S // 60))
    return max(1, min(MAX_TEXTS, TEXTS_IN_FLIGHT // in_flight))


class InputLimit:
    """The longest input of a model: cuts texts to it, and says which ones may be beyond."""

    def __init__(self, model: str) -> None:
        name = model.rpartition("/")[2]
        self._longest = LONGEST_TOKENS.get(name)
        tokenizer = find_tokenizer(name) if self._longest else None
        self._count: CountTokens | None = None if tokenizer is None else tokenizer[1]

    def truncate(self, whole: str) -> EmbedText:
        """Exactly where a tokenizer is at hand, else to the length that English of so many tokens has."""
        text = EmbedText(whole, whole)
        if self._longest is None or self.fits(text):
            return text
        if self._count is None:
            return EmbedText(whole, whole[: self._longest * CHARS_PER_TOKEN])
        return EmbedText(whole, _longest_prefix(whole, self._longest, self._count))

    def fits(self, text: EmbedText) -> bool:
        """Whether the model is sure to take it: such texts travel together, the others alone."""
        if self._longest is None or len(text.sent) * 4 <= self._longest or text.most_tokens <= self._longest:
            return True
        return self._count is not None and self._count(text.sent) <= self._longest

    def may_be_too_long(self, text: EmbedText, error_type: str | None) -> bool:
        """Whether a refusal of this text by itself may go away when it is shorter."""
        is_named = error_type in {"context_length", "http_413"}
        return len(text.sent) > SHORTEST_CHARS and (is_named or not self.fits(text))


def _longest_prefix(text: str, tokens: int, count: CountTokens) -> str:
    """The longest beginning of `text` found to have at most `tokens`; by halving, as prefixes have fewer."""
    fits, too_long = tokens // 4, min(len(text), tokens * 16) + 1
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if count(text[:middle]) <= tokens:
            fits = middle
        else:
            too_long = middle
    return text[:fits]


class RequestBuilder:
    """Makes the requests of one embedder."""

    def __init__(self, spec: EmbedderSpec, pricing: Pricing | None, shard: int = 0) -> None:
        """Their money is that of a shard, 0 where there is none."""
        self.limit = InputLimit(spec.model or "")
        self._most_texts = texts_per_request(spec)
        self._pricing = pricing
        self._shard = shard
        self._fields: dict[str, str | int | None] = {"model": spec.model}
        if spec.dimensions is not None:
            self._fields["dimensions"] = spec.dimensions

    def group(self, texts: Sequence[str]) -> Iterator[tuple[EmbedText, ...]]:
        """The texts of one request after the other; one that may be too long stands alone, to be refused alone."""
        together: list[EmbedText] = []
        tokens = 0
        for whole in texts:
            text = self.limit.truncate(whole)
            if not self.limit.fits(text):
                yield (text,)
                continue
            if together and (len(together) == self._most_texts or tokens + text.most_tokens > MAX_TOKENS):
                yield tuple(together)
                together, tokens = [], 0
            together.append(text)
            tokens += text.most_tokens
        if together:
            yield tuple(together)

    def build(self, texts: tuple[EmbedText, ...], *, as_base64: bool) -> EmbedRequest:
        """The request for these texts."""
        sent = [text.sent.encode("utf-8", "replace").decode() for text in texts]
        encoding = {"encoding_format": "base64"} if as_base64 else {}
        body = msgspec.json.encode({**self._fields, **encoding, "input": sent})
        tokens = sum(estimate_tokens(len(text)) for text in sent)
        most_tokens = sum(text.most_tokens for text in texts)
        most_usd = self._pricing.most_usd(most_tokens) if self._pricing else Decimal(0)
        return EmbedRequest(texts, body, tokens, most_usd, as_base64, self._shard)


def read_vectors(parsed: dict[str, Any]) -> Answer:
    """An ok answer with `vectors` [n, dim], or a malformed one that says what is wrong with them."""
    try:
        vectors = _matrix(_in_order(parsed.get("data")))
    except ValueError as fault:
        return malformed(str(fault), parsed)
    return Answer(verdict="ok", vectors=vectors, completion=Completion(usage=read_usage(parsed)))


def _in_order(data: Any) -> list[Any]:
    """The embeddings by their index; where none is given they stand in their order."""
    if not isinstance(data, list) or not data or not all(isinstance(item, dict) for item in data):
        raise ValueError("has no vectors")
    placed = [(item.get("index", place), item.get("embedding")) for place, item in enumerate(data)]
    by_index = {index: embedding for index, embedding in placed if isinstance(index, int | float)}
    if by_index.keys() != set(range(len(placed))):
        raise ValueError(f"numbers its {len(placed)} vectors otherwise than 0 to {len(placed) - 1}")
    return [by_index[index] for index in range(len(placed))]


def _matrix(embeddings: Sequence[Any]) -> Vectors:
    rows = _decoded(embeddings) if isinstance(embeddings[0], str) else _numbers(embeddings)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise ValueError("has vectors of different lengths")
    if not np.isfinite(rows).all():
        raise ValueError("has a vector with NaN or infinite numbers")
    return rows


def _decoded(embeddings: Sequence[Any]) -> Vectors:
    """Little-endian float32, as OpenAI packs them."""
    try:
        packed = [base64.b64decode(embedding, validate=True) for embedding in embeddings]
    except (TypeError, binascii.Error) as fault:
        raise ValueError(f"has a vector that is not base64 ({fault})") from fault
    if len({len(row) for row in packed}) > 1 or len(packed[0]) % 4:
        raise ValueError("has vectors of different lengths")
    vectors: Vectors = np.frombuffer(b"".join(packed), "<f4").reshape(len(packed), -1)
    return vectors


def _numbers(embeddings: Sequence[Any]) -> Vectors:
    try:
        with np.errstate(over="ignore"):  # it becomes infinite, which is refused
            vectors: Vectors = np.array(embeddings, np.float32)
    except (TypeError, ValueError) as fault:
        raise ValueError("has vectors of different lengths, or that are no numbers") from fault
    return vectors
