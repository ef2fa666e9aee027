"""Texts -> requests for their vectors: cut to what the model takes, put together, spelt as JSON.

Knows no network and no vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from batchroute.send.tokens import CHARS_PER_TOKEN, estimate_tokens, find_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchroute.job.prices import Pricing
    from batchroute.job.spec import EmbedderSpec
    from batchroute.send.tokens import CountTokens

MAX_TEXTS = 2048  # OpenAI's limit on the inputs of a request
MAX_TOKENS = 300_000  # ... and on all their tokens
TEXTS_UNDER_WAY = 16_384  # vectors of 1,536 numbers are 6 KB each, 8 KB on the wire
IN_FLIGHT_S = 2.0  # requests that leave within this time are taken to be in flight together
# Longest input in tokens; a longer one is refused. Of other models the server has to say what is too long.
LONGEST_TEXT = dict.fromkeys(("text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002"), 8191)
SHORTER = 0.75  # of a text that was refused as too long is tried next
SHORTEST_CHARS = 256  # below, length is not the trouble


@dataclass(frozen=True, slots=True)
class Text:
    """One text on its way: as it stands in the input, and as much of it as is sent."""

    whole: str
    sent: str

    @property
    def size(self) -> int:
        """No tokenizer makes more tokens than there are bytes."""
        return len(self.sent.encode("utf-8", "replace"))

    def shortened(self) -> Text:
        return Text(self.whole, self.sent[: int(len(self.sent) * SHORTER)])


class Batch(msgspec.Struct, frozen=True):
    """One request: the texts it asks for, in their order, and what a lane has to know of it."""

    texts: tuple[Text, ...]
    body: bytes
    tokens: int
    most_usd: Decimal
    as_base64: bool
    attempts: int = 0


def texts_per_request(spec: EmbedderSpec) -> int:
    """As many as keep all the requests that may be in flight busy, with a bounded number of texts under way."""
    in_flight = spec.max_concurrency
    if spec.requests_per_minute is not None:
        in_flight = min(in_flight, -int(-spec.requests_per_minute * IN_FLIGHT_S // 60))
    return max(1, min(MAX_TEXTS, TEXTS_UNDER_WAY // in_flight))


class Cutter:
    """Cuts texts to the longest input of a model."""

    def __init__(self, model: str) -> None:
        name = model.rpartition("/")[2]
        self.longest = LONGEST_TEXT.get(name)
        self._count = _counter(name) if self.longest else None

    def cut(self, whole: str) -> Text:
        """Exactly where a tokenizer is at hand, else to the length that English of so many tokens has."""
        if self.longest is None or self.fits(Text(whole, whole)):
            return Text(whole, whole)
        if self._count is None:
            return Text(whole, whole[: self.longest * CHARS_PER_TOKEN])
        return Text(whole, _longest_prefix(whole, self.longest, self._count))

    def fits(self, text: Text) -> bool:
        """Whether the model is sure to take it: such texts travel together, the others alone."""
        if self.longest is None or len(text.sent) * 4 <= self.longest or text.size <= self.longest:
            return True
        return self._count is not None and self._count(text.sent) <= self.longest

    def may_be_too_long(self, text: Text, error_type: str | None) -> bool:
        """Whether a refusal of this text by itself may go away when it is shorter."""
        said = error_type in {"context_length", "http_413"}
        return len(text.sent) > SHORTEST_CHARS and (said or not self.fits(text))


def _counter(model: str) -> CountTokens | None:
    found = find_tokenizer(model)
    return None if found is None else found[1]


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


class Speller:
    """Makes the requests of one embedder."""

    def __init__(self, spec: EmbedderSpec, pricing: Pricing | None) -> None:
        self.cutter = Cutter(spec.model or "")
        self._most_texts = texts_per_request(spec)
        self._pricing = pricing
        self._fields: dict[str, str | int | None] = {"model": spec.model}
        if spec.dimensions is not None:
            self._fields["dimensions"] = spec.dimensions

    def grouped(self, texts: Sequence[str]) -> Iterator[tuple[Text, ...]]:
        """The texts of one request after the other; one that may be too long stands alone, to be refused alone."""
        group: list[Text] = []
        size = 0
        for whole in texts:
            text = self.cutter.cut(whole)
            if not self.cutter.fits(text):
                yield (text,)
                continue
            own = text.size
            if group and (len(group) == self._most_texts or size + own > MAX_TOKENS):
                yield tuple(group)
                group, size = [], 0
            group.append(text)
            size += own
        if group:
            yield tuple(group)

    def batch(self, texts: tuple[Text, ...], *, as_base64: bool) -> Batch:
        """The request for these texts."""
        sent = [text.sent.encode("utf-8", "replace").decode() for text in texts]
        encoding = {"encoding_format": "base64"} if as_base64 else {}
        body = msgspec.json.encode({**self._fields, **encoding, "input": sent})
        tokens = sum(estimate_tokens(len(text)) for text in sent)
        most_usd = self._pricing.most_usd(sum(text.size for text in texts)) if self._pricing else Decimal(0)
        return Batch(texts, body, tokens, most_usd, as_base64)
