"""What one lane has to send: the input's rows of its side that are not done, in input order.

Each lane reads the input on its own, along the scores, so that a lane that is far behind costs no memory: only the
chunk it stands in. Blocking code, for a worker thread.
"""

from __future__ import annotations

import math
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from batchroute.errors import InputFault
from batchroute.route.sides import route
from batchroute.send.body import Body, fingerprint
from batchroute.send.request import Request
from batchroute.send.tokens import estimate_tokens
from batchroute.store.scores import among, read_scores
from batchroute.types import SIDES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from batchroute.input.chunk import Chunk
    from batchroute.input.open import Source
    from batchroute.job.prices import Pricing
    from batchroute.job.spec import Endpoints
    from batchroute.route.sides import Routes
    from batchroute.store.done import DoneRows
    from batchroute.store.rows import RunStore
    from batchroute.store.scores import ScoredRows, ScorePart
    from batchroute.types import Prompt, RefusalType, Side


def rows_to_ask(
    parts: Iterable[ScorePart], threshold: float, endpoints: Endpoints, done: DoneRows, limit: int | None
) -> dict[Side, int]:
    """How many rows each lane has left to settle, of the first `limit` of the input."""
    left = sys.maxsize if limit is None else limit
    counts: dict[Side, int] = dict.fromkeys(SIDES, 0)
    for part in parts:
        rows = read_scores(part)
        undone = ~among(rows, done)
        undone[left:] = False
        left = max(0, left - part.rows)
        if not undone.any():
            continue
        routes = route(rows, threshold, endpoints)
        for side in SIDES:
            counts[side] += int(np.count_nonzero(routes.on(side) & undone))
    return counts


class Feed:
    """One lane's way through the input."""

    def __init__(
        self,
        side: Side,
        source: Source,
        endpoints: Endpoints,
        store: RunStore,
        *,
        pricing: Pricing | None = None,
        moved: DoneRows | None = None,
        limit: int | None = None,
    ) -> None:
        """`pricing` where a budget holds: each row then brings the most it can cost, or is refused.

        `moved`: these rows, which the other side gave up for the budget's sake, and no others. `limit` is how many
        rows of the input are wanted at all; more may be scored.
        """
        endpoint = endpoints.strong if side == "strong" else endpoints.weak
        self._side = side
        self._source = source
        self._endpoints = endpoints
        self._done: DoneRows = store.done
        self._unsettled = dict(store.unsettled)
        self._body = Body(endpoint.model, endpoint.params)
        self._pricing = pricing
        self._moved = moved
        self._left = sys.maxsize if limit is None else limit
        self._chunks: Iterator[Chunk] | None = None
        self._position: Any = None

    def requests(self, part: ScorePart, threshold: float) -> Iterator[list[Request]]:
        """The requests of the next part, a list for each chunk that has any; refused rows are among them."""
        rows = read_scores(part)
        wanted = ~among(rows, self._done)
        wanted[self._left :] = False
        self._left = max(0, self._left - part.rows)
        if not wanted.any():  # as in nearly every part, when a run is taken up near its end
            return
        routes = route(rows, threshold, self._endpoints)
        wanted &= routes.on(self._side) if self._moved is None else among(rows, self._moved)
        if not wanted.any():
            return
        offset = 0
        while offset < part.rows:
            chunk = self._next_chunk(part, offset)
            stop = offset + len(chunk.rows)
            if not np.array_equal(chunk.rows, rows.row[offset:stop]):
                raise InputFault(f"{chunk.file}: has changed since it was scored; restore it, or score it anew")
            picks = np.flatnonzero(wanted[offset:stop])
            if len(picks):
                yield list(self._ask(chunk, picks, rows, routes, offset))
            offset = stop

    def _next_chunk(self, part: ScorePart, offset: int) -> Chunk:
        """The chunk at a part's start, or the one after the last; cut where the part ends within it."""
        if offset == 0 and (self._chunks is None or self._position != part.start):
            self._chunks = self._source.chunks(part.start)
        chunk = next(self._chunks or iter(()), None)
        if chunk is None:
            raise InputFault("the input is shorter than when it was scored; restore it, or score it anew")
        left = part.rows - offset
        if len(chunk.rows) > left:
            self._chunks = None
            chunk = chunk.head(left)
        self._position = chunk.end
        return chunk

    def _ask(
        self, chunk: Chunk, picks: NDArray[np.int64], rows: ScoredRows, routes: Routes, offset: int
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
            asked = _too_long(prompt, tokens, self._side) if lengthy else prompt
            if place in rows.refusals:
                asked = _refused(asked, rows.refusals[place])
            body, longest = (b"", 0) if asked.refusal else self._body(asked)
            if self._pricing and not longest:
                asked = _unbounded(asked)
            earlier = self._unsettled.get((prompt.file, prompt.row))
            yield Request(
                asked,
                body,
                tokens + longest,
                None if math.isnan(score) else score,
                reason if self._moved is None else "budget",
                earlier.attempts if earlier else 0,
                self._pricing.most_usd(len(body), longest) if self._pricing else Decimal(0),
                fingerprint(body),
                chars,
            )


def _refused(prompt: Prompt, reason: str, kind: RefusalType = "bad_row") -> Prompt:
    """The first reason stays."""
    if prompt.refusal is not None:
        return prompt
    return msgspec.structs.replace(prompt, refusal=reason, refusal_type=kind)


def _too_long(prompt: Prompt, tokens: int, side: Side) -> Prompt:
    message = f"about {tokens} input tokens, more than endpoints.{side}.max_input_tokens"
    return _refused(prompt, message, "too_long")


def _unbounded(prompt: Prompt) -> Prompt:
    message = (
        "nothing bounds its output, as limits.max_cost_usd needs: give it max_completion_tokens or max_tokens"
    )
    return _refused(prompt, message, "unbounded")
