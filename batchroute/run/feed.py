"""What one endpoint has to be sent: the rows routed to it that are not done, in input order.

Each lane reads the input on its own, along the scores, so that a lane that is far behind costs no memory: only the
chunk it stands in. Blocking code, for a worker thread.
"""

from __future__ import annotations

import math
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np

from batchroute.errors import InputFault
from batchroute.job.media import media_tokens
from batchroute.job.tiers import AUTO, asked_tier
from batchroute.route.sides import route
from batchroute.send.body import fingerprint, open_body
from batchroute.send.dialects.dialect import NOTHING
from batchroute.send.request import Request
from batchroute.send.tokens import estimate_tokens
from batchroute.store.scores import among, read_scores

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from batchroute.input.chunk import Chunk
    from batchroute.input.open import Source
    from batchroute.job.endpoint import EndpointSpec
    from batchroute.job.media import MediaTokens
    from batchroute.job.prices import Pricing
    from batchroute.job.spec import Endpoints
    from batchroute.route.sides import Routes
    from batchroute.run.pilot.watch import WatchedRows
    from batchroute.store.rows import DoneRows
    from batchroute.store.scores import ScoredRows, ScorePart
    from batchroute.types import Media, Prompt, RefusalType, Result, RouteReason


def rows_to_ask(
    parts: Iterable[ScorePart],
    threshold: float,
    endpoints: Endpoints,
    done: DoneRows,
    handed_over: Mapping[str, DoneRows],
    limit: int | None,
) -> dict[str, int]:
    """How many rows each lane has left to settle, of the first `limit` of the input."""
    left = sys.maxsize if limit is None else limit
    counts = dict.fromkeys(endpoints.names, 0)
    for part in parts:
        rows = read_scores(part)
        undone = ~among(rows, done)
        undone[left:] = False
        left = max(0, left - part.rows)
        if not undone.any():
            continue
        routes = _routes(rows, threshold, endpoints, handed_over)
        for name in counts:
            counts[name] += int(np.count_nonzero(routes.on(name) & undone))
    return counts


def _routes(
    rows: ScoredRows, threshold: float, endpoints: Endpoints, handed_over: Mapping[str, DoneRows]
) -> Routes:
    """Where rows go by their scores, and those that an answer of an earlier run sent on by that."""
    routes = route(rows, threshold, endpoints)
    for name, there in handed_over.items():
        routes = routes.hand_over(among(rows, there), name)
    return routes


class RequestWriter:
    """Writes the requests of one endpoint."""

    def __init__(self, spec: EndpointSpec, pricing: Pricing | None, shard: int = 0) -> None:
        """`pricing` where a budget holds: each row then brings the most it can cost, or is refused.

        `shard` is the one that the rows lie in, where there are some.
        """
        self._shard = shard
        self._body = open_body(spec)
        self._pricing = pricing
        self._media = media_tokens(spec.model, spec.max_media_tokens)
        self._leaves_full_tier = spec.on_busy == "standard"

    def __call__(
        self, prompt: Prompt, score: float | None, reason: RouteReason, *, chars: int, tokens: int, attempts: int
    ) -> Request:
        """The request for a row of so many characters and, by estimate, input tokens.

        Where its prompt is refused, for what is refused here too, there is no body.
        """
        body, longest, refusal, identity = NOTHING if prompt.refusal else self._body(prompt)
        if refusal is not None:
            prompt = _refused(prompt, refusal)
        tier = asked_tier(prompt.params) if prompt.params else None
        media = 0 if prompt.media is None else self._media.expected(prompt.media)
        most_usd = Decimal(0)
        if self._pricing is not None:
            unbounded = unbounded_cost(self._pricing, longest, tier) or unbounded_media(self._media, prompt.media)
            if unbounded is not None:
                prompt = _refused(prompt, unbounded, "unbounded")
            text_bytes = len(body) - prompt.inlined_bytes
            # Where its tier is full it is sent again without one, which leaves that to the account.
            most_in = AUTO if self._leaves_full_tier else tier
            most_usd = self._pricing.most_usd(text_bytes, longest, media_tokens=media, asked=most_in)
        return Request(
            prompt,
            body,
            tokens + media + longest,
            score,
            reason,
            attempts,
            most_usd,
            fingerprint(identity or body),
            chars,
            tier,
            shard=self._shard,
        )


class Settled(Protocol):
    """What of the rows is behind them: done, begun and left undone, sent on by an answer."""

    @property
    def done(self) -> DoneRows: ...
    @property
    def unsettled(self) -> Mapping[tuple[str, int], Result]: ...
    @property
    def handed_over(self) -> Mapping[str, DoneRows]: ...


class Feed:
    """One endpoint's way through the input."""

    def __init__(
        self,
        name: str,
        source: Source,
        endpoints: Endpoints,
        store: Settled,
        *,
        pricing: Pricing | None = None,
        moved: DoneRows | None = None,
        limit: int | None = None,
        watch: WatchedRows | None = None,
        shard: int = 0,
    ) -> None:
        """`pricing` where a budget holds: each row then brings the most it can cost, or is refused.

        `moved`: these rows, which another endpoint gave up for the budget's sake, and no others. `limit` is how
        many rows of the input are wanted at all; more may be scored. `watch` adds rows that are routed elsewhere.
        """
        self._watch = watch
        self._name = name
        self._source = source
        self._endpoints = endpoints
        self._done = store.done
        self._unsettled = dict(store.unsettled)
        self._handed_over = store.handed_over
        self._write = RequestWriter(endpoints[name], pricing, shard)
        self._moved = moved
        self._left = sys.maxsize if limit is None else limit
        self._chunks: Iterator[Chunk] | None = None
        self._position: Any = None

    def requests(self, part: ScorePart, threshold: float) -> Iterator[list[Request]]:
        """The requests of the next part, a list for each chunk that has any; refused rows are among them."""
        rows = read_scores(part)
        inside = np.arange(part.rows) < self._left
        self._left = max(0, self._left - part.rows)
        done = among(rows, self._done)
        wanted = inside & ~done
        if not wanted.any() and self._watch is None:  # as in nearly every part, when a run is near its end
            return
        routes = _routes(rows, threshold, self._endpoints, self._handed_over)
        wanted &= routes.on(self._name) if self._moved is None else among(rows, self._moved)
        beside = np.zeros(part.rows, np.bool_)
        if self._watch is not None:
            beside = inside & self._watch.rows(rows, routes, done, self._name)
        wanted |= beside
        if not wanted.any():
            return
        # A part holds whole chunks of the reader, but where `--limit` ended it. After a run with --limit 6000:
        #
        #     parts    0..4095      4096..5999              6000..12287
        #     chunks   0..4095      4096..8191, cut here    6000..10095, 10096..12287
        #
        # The reader is opened anew at 6000. Every row's place is compared with the one that was scored: of a file
        # that has changed since, a row would get the score of another.
        offset = 0
        while offset < part.rows:
            chunk = self._next_chunk(part, offset)
            stop = offset + len(chunk.rows)
            if not np.array_equal(chunk.rows, rows.row[offset:stop]):
                raise changed(chunk.file)
            picks = np.flatnonzero(wanted[offset:stop])
            if len(picks):
                yield list(self._ask(chunk, picks, rows, routes, offset, beside))
            offset = stop

    def _next_chunk(self, part: ScorePart, offset: int) -> Chunk:
        """The chunk at a part's start, or the one after the last; cut where the part ends within it."""
        if offset == 0 and (self._chunks is None or self._position != part.start):
            self._chunks = self._source.chunks(part.start)
        chunk = next(self._chunks or iter(()), None)
        if chunk is None:
            raise InputFault("the input is shorter than when it was scored; restore it, or score it again")
        left = part.rows - offset
        if len(chunk.rows) > left:
            self._chunks = None
            chunk = chunk.head(left)
        self._position = chunk.end
        return chunk

    def _ask(
        self,
        chunk: Chunk,
        picks: NDArray[np.int64],
        rows: ScoredRows,
        routes: Routes,
        offset: int,
        beside: NDArray[np.bool_],
    ) -> Iterator[Request]:
        places = picks + offset
        prompts, reasons = chunk.prompts(picks), routes.reasons(places)
        # As lists: a number taken out of an array one by one costs more than all the rest.
        columns = (places, rows.score[places], rows.chars[places], estimate_tokens(rows.chars[places]))
        numbers = zip(*(column.tolist() for column in columns), strict=True)
        too_long = routes.too_long[places].tolist()
        for prompt, reason, lengthy, (place, score, chars, tokens) in zip(
            prompts, reasons, too_long, numbers, strict=True
        ):
            if prompt.refusal is not None and not math.isnan(score):
                raise changed(prompt.file)  # it could be read then: a refusal, which is final, would be wrong
            asked = _too_long(prompt, tokens, self._name) if lengthy else prompt
            if place in rows.refusals:
                asked = _refused(asked, rows.refusals[place])
            earlier = None if beside[place] else self._unsettled.get((prompt.file, prompt.row))
            request = self._write(
                asked,
                None if math.isnan(score) else score,
                reason if self._moved is None else "budget",
                chars=chars,
                tokens=tokens,
                attempts=earlier.attempts if earlier else 0,
            )
            yield msgspec.structs.replace(request, beside="watch") if beside[place] else request


def changed(file: str) -> InputFault:
    """What to raise where a file's rows are not those that were scored."""
    return InputFault(f"{file}: has changed since it was scored; restore it, or score it again")


def _refused(prompt: Prompt, reason: str, kind: RefusalType = "bad_row") -> Prompt:
    """The first reason stays."""
    if prompt.refusal is not None:
        return prompt
    return msgspec.structs.replace(prompt, refusal=reason, refusal_type=kind)


def _too_long(prompt: Prompt, tokens: int, name: str) -> Prompt:
    message = f"about {tokens} input tokens, more than endpoints.{name}.max_input_tokens"
    return _refused(prompt, message, "too_long")


def unbounded_cost(pricing: Pricing, longest: int, tier: str | None) -> str | None:
    """Why nothing bounds what a request may cost, as a budget needs; None where something does.

    `longest` bounds its output, 0 where nothing does; `tier` is the one that its own params ask for.
    """
    if not longest:
        needs = "give it max_completion_tokens or max_tokens"
        return f"nothing bounds its output, as limits.max_cost_usd needs: {needs}"
    if tier is not None and pricing.schedule(tier) is None:
        needs = f"set the endpoint's price, or price.tiers.{tier}"
        return f"the price of service_tier {tier} is unknown, which limits.max_cost_usd needs: {needs}"
    return None


def unbounded_media(tokens: MediaTokens, media: Media | None) -> str | None:
    """Why nothing bounds what the media of a request add to it; None where something does."""
    if media is None or tokens.most(media) is not None:
        return None
    needs = "set the endpoint's max_media_tokens, or give images a detail whose tokens have a limit"
    return f"nothing bounds the tokens of its media, as limits.max_cost_usd needs: {needs}"
