"""What one lane has to send: the input's rows of its side that are not done, in input order.

Each lane reads the input on its own, along the scores, so that a lane that is far behind costs no memory: only the
chunk it stands in. Blocking code, for a worker thread.
"""

from __future__ import annotations

import hashlib
import math
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from batchroute.dispatch import Request
from batchroute.errors import InputFault
from batchroute.routing import estimate_tokens, route
from batchroute.scores import read_scores
from batchroute.types import SIDES, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from batchroute.done import DoneRows
    from batchroute.job import Endpoints
    from batchroute.prices import Pricing
    from batchroute.routing import Routes
    from batchroute.scores import ScoredRows, ScorePart
    from batchroute.source import Chunk, Source
    from batchroute.store import RunStore
    from batchroute.types import Prompt, RefusalType, Side

OUTPUT_BOUNDS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
FINGERPRINT_BYTES = 16


class Body:
    """Request bodies of one endpoint: its params, the row's over them, the model and the messages.

    The same params make the same bytes, in whatever order and wherever they were written.
    """

    def __init__(self, model: str, params: Mapping[str, Any]) -> None:
        self._params = {**params, "model": model}
        self._head = _head(self._params)
        self._longest = longest_output(params)

    def __call__(self, prompt: Prompt) -> tuple[bytes, int]:
        """The body, and the most tokens its answer may have (0 where nothing bounds it)."""
        if not prompt.params:
            return self._head + prompt.messages + b"}", self._longest
        params = {**self._params, **prompt.params}
        return _head(params) + prompt.messages + b"}", longest_output(params)


def _head(params: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(params, order="sorted")[:-1] + b',"messages":'


def fingerprint(body: bytes) -> bytes:
    """What tells a request's body, and so its model, from every other: two are the same if and only if this is."""
    return hashlib.blake2b(body, digest_size=FINGERPRINT_BYTES).digest()


def longest_output(params: Mapping[str, Any]) -> int:
    """Tokens of output that a request's params allow, over all its choices; 0 where they set no bound.

    What is no whole number above 0 bounds nothing: some servers take -1 for "as many as you like".
    """
    bounds = [_whole(params[name]) for name in OUTPUT_BOUNDS if params.get(name) is not None]
    choices = params.get("n")
    longest = max(bounds, default=0) if all(bounds) else 0
    return longest * (1 if choices is None else _whole(choices))


def _whole(value: Any) -> int:
    """A count above 0, else 0; a column of numbers with nulls in it brings 3.0 for 3."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return max(0, value) if isinstance(value, int) and not isinstance(value, bool) else 0


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
                self._most_usd(body, longest),
                fingerprint(body),
                chars,
            )

    def _most_usd(self, body: bytes, longest: int) -> Decimal:
        """No tokenizer makes more tokens than bytes, but for the few that frame a message; a body has more."""
        if self._pricing is None:
            return Decimal(0)
        return self._pricing.cost(Usage(prompt_tokens=len(body), completion_tokens=longest)) or Decimal(0)


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


def among(rows: ScoredRows, done: DoneRows) -> NDArray[np.bool_]:
    """[n] whether each row is in the set."""
    found = np.zeros(len(rows.row), np.bool_)
    for code, file in enumerate(rows.files):
        here = rows.file == code
        found[here] = done.mask(file, rows.row[here])
    return found
