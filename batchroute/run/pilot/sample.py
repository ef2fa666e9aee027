"""Which rows a pilot asks: drawn by their scores, read from the input once, with all that their requests need.

Rows that demand a side, have no score, or are too long for one of the sides are not drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batchroute.input.keep import unpack
from batchroute.route.sides import longest_input
from batchroute.run.feed import changed
from batchroute.send.tokens import estimate_tokens
from batchroute.store.scores import among, read_scores

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from batchroute.input.chunk import Chunk
    from batchroute.input.open import Source
    from batchroute.job.spec import Endpoints
    from batchroute.store.rows import DoneRows
    from batchroute.store.scores import ScoredRows, ScorePart
    from batchroute.types import Floats, Prompt

    Picks = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EligibleScores:
    """The scores that may be drawn, part by part, NaN for the others; of the first `limit` rows of the input."""

    parts: Sequence[ScorePart]
    endpoints: Endpoints
    limit: int | None

    def __iter__(self) -> Iterator[Floats]:
        longest = min(longest_input(spec) for _, spec in self.endpoints.items())
        first = 0
        for part in self.parts:
            rows = read_scores(part)
            eligible = _is_free(rows) & (estimate_tokens(rows.chars) <= longest)
            if self.limit is not None:
                eligible[max(0, self.limit - first) :] = False
            first += part.rows
            yield np.where(eligible, rows.score, np.nan)


def _is_free(rows: ScoredRows) -> NDArray[np.bool_]:
    free: NDArray[np.bool_] = rows.forced == None  # noqa: E711 - element by element
    return free


@dataclass(frozen=True, slots=True)
class SampledRow:
    """A row of the pilot: `text` is what the router reads, `stratum` its tenth by score, `chars` as of a request.

    `place` is its number among all rows of the input.
    """

    place: int
    prompt: Prompt
    text: str
    chars: int
    score: float
    stratum: int


def read_rows(source: Source, parts: Sequence[ScorePart], places: Picks, strata: Picks) -> list[SampledRow]:
    """The rows at these places, in their order; InputFault where the input is not as it was scored."""
    found: dict[int, SampledRow] = {}
    stratum_of = dict(zip(places.tolist(), strata.tolist(), strict=True))
    for chunk, picks, here, scores in _picked(source, parts, places):
        asked = chunk.questions(picks)
        rows = zip(here.tolist(), chunk.prompts(picks), asked.texts, asked.chars.tolist(), scores, strict=True)
        for place, prompt, text, chars, score in rows:
            if prompt.refusal is not None:
                raise changed(prompt.file)
            found[place] = SampledRow(place, prompt, text, chars, score, stratum_of[place])
    return [found[place] for place in places.tolist()]


def places_of(parts: Sequence[ScorePart], wanted: DoneRows) -> Picks:
    """Where the rows of a set stand among all rows of the input, in its order."""
    found: list[Picks] = []
    first = 0
    for part in parts:
        found.append(np.flatnonzero(among(read_scores(part), wanted)) + first)
        first += part.rows
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def read_column(source: Source, parts: Sequence[ScorePart], places: Picks) -> list[Any]:
    """The value that rows have in the one column that `source` keeps, in the order of `places`."""
    found: dict[int, Any] = {}
    for chunk, picks, here, _ in _picked(source, parts, places):
        values = unpack(chunk.records.keep(picks), source.keep_schema).column(0).to_pylist()
        found.update(zip(here.tolist(), values, strict=True))
    return [found[place] for place in places.tolist()]


def _picked(
    source: Source, parts: Sequence[ScorePart], places: Picks
) -> Iterator[tuple[Chunk, Picks, Picks, list[float]]]:
    """Chunks with rows at these places of the whole input: indices into the chunk, the places, the scores."""
    ordered = np.sort(places)
    first = 0
    for part in parts:
        here = ordered[np.searchsorted(ordered, first) : np.searchsorted(ordered, first + part.rows)] - first
        if len(here):
            scored, offset = read_scores(part), 0
            for chunk in source.chunks(part.start, part.end):
                stop = offset + len(chunk.rows)
                if not np.array_equal(chunk.rows, scored.row[offset:stop]):
                    raise changed(chunk.file)
                mine = here[np.searchsorted(here, offset) : np.searchsorted(here, stop)]
                if len(mine):
                    yield chunk, mine - offset, mine + first, scored.score[mine].tolist()
                offset = stop
        first += part.rows
