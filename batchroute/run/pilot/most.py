"""The most that a pilot can cost: of its rows those that can cost the most, each as a budget would reserve it.

Which rows will be drawn is not known before all are scored, so the bound holds for any. For one attempt each: what
an endpoint bills that answers nothing is the budget's matter. Sends nothing.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batchroute.grade.pairwise import pairwise_messages
from batchroute.grade.rubric import rubric_messages
from batchroute.grade.shown import ANSWER_CHARS
from batchroute.job.media import media_tokens
from batchroute.job.pilot import JUDGE_NAME
from batchroute.job.rules import longest_output
from batchroute.run.feed import RequestWriter
from batchroute.run.pilot.fit import made_up_answer
from batchroute.run.pilot.verdicts import MOST_TRIES, QUESTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import TypeVar

    from numpy.typing import NDArray

    from batchroute.input.chunk import Chunk
    from batchroute.job.endpoint import EndpointSpec
    from batchroute.job.media import MediaTokens
    from batchroute.job.pilot import PilotSpec
    from batchroute.job.prices import Pricing, Target
    from batchroute.job.spec import Job
    from batchroute.store.scores import ScoredRows
    from batchroute.types import Prompt

    Amount = TypeVar("Amount", float, NDArray[np.float64])

# A character is up to 6 bytes of JSON; with the names and signs around short texts, as in messages, a little more.
_MOST_BYTES_PER_CHAR = 8
_BYTES_PER_TOKEN = 4  # of an answer's text, which is part of what a judge is asked
_BODY_BYTES = 2_000  # of a request to a judge beside its messages: params, and the form of a verdict


def judge_messages(pilot: PilotSpec, conversation: bytes) -> bytes:
    """What a judge is sent about a row, without the answers."""
    nothing = made_up_answer("")
    if pilot.judge == "pairwise":
        return pairwise_messages(conversation, nothing, nothing, pilot.criteria)
    return rubric_messages(conversation, nothing, pilot.criteria)


class MostUsd(NamedTuple):
    """The other sides' answers, and the judge."""

    answers: Decimal
    judge: Decimal


@dataclass(frozen=True, slots=True)
class _Side:
    """An endpoint of the rows whose price is known; `longest`: tokens of an answer by its own params."""

    spec: EndpointSpec
    pricing: Pricing
    media: MediaTokens
    longest: int

    @staticmethod
    def of(spec: EndpointSpec, pricing: Pricing) -> _Side:
        media = media_tokens(spec.model, spec.max_media_tokens)
        return _Side(spec, pricing, media, longest_output(spec.sent_params))

    def rank(self, prompt: Prompt) -> float:
        """Orders rows as the most that they can cost does, at a small part of the work."""
        media = 0 if prompt.media is None else self.media.expected(prompt.media)
        tokens = len(prompt.messages) - prompt.inlined_bytes + media
        return self._rank(float(tokens), self.longest_of(prompt))

    def highest_rank(self, chars: NDArray[np.int64]) -> NDArray[np.float64]:
        """[n] of rows of so many characters, without media and params."""
        return self._rank(_MOST_BYTES_PER_CHAR * chars.astype(np.float64), self.longest)

    def _rank(self, tokens: Amount, longest: int) -> Amount:
        rates = self.pricing.rates
        return tokens * float(rates.input) + longest * float(rates.output or 0)

    def longest_of(self, prompt: Prompt) -> int:
        return longest_output({**self.spec.sent_params, **prompt.params}) if prompt.params else self.longest


class DearestRows:
    """The rows that can cost the most, as many as a pilot asks, in a heap: memory does not grow with the input."""

    def __init__(
        self, job: Job, pilot: PilotSpec, targets: Mapping[str, Target], *, rows_bring_params: bool
    ) -> None:
        """The price of all `targets` must be known."""
        self._job = job
        self._pilot = pilot
        self._judge = targets[JUDGE_NAME].list_price if JUDGE_NAME in targets else None
        priced = ((spec, targets[name].list_price) for name, spec in job.endpoints.items())
        self._sides = [_Side.of(spec, pricing) for spec, pricing in priced if pricing is not None]
        self._rows_bring_params = rows_bring_params
        self._heap: list[tuple[float, int, Prompt, int]] = []  # the number tells equal ones apart
        self._numbers = count()

    def add(self, chunk: Chunk, rows: ScoredRows, eligible: NDArray[np.bool_]) -> None:
        """Of a chunk the `eligible` ones; those that are surely too small are not decoded."""
        size = self._pilot.most_rows
        if len(self._heap) == size and not self._rows_bring_params:
            eligible = eligible & self._may_be_among(rows)
        picked = np.flatnonzero(eligible)
        for prompt, chars in zip(chunk.prompts(picked), rows.chars[picked].tolist(), strict=True):
            entry = (max(side.rank(prompt) for side in self._sides), next(self._numbers), prompt, chars)
            if len(self._heap) < size:
                heapq.heappush(self._heap, entry)
            else:
                heapq.heappushpop(self._heap, entry)

    def _may_be_among(self, rows: ScoredRows) -> NDArray[np.bool_]:
        highest = np.max([side.highest_rank(rows.chars) for side in self._sides], axis=0)
        found: NDArray[np.bool_] = highest >= self._heap[0][0]
        for having in rows.media.values():
            found[having] = True
        return found

    def most_usd(self) -> MostUsd | None:
        """For all of them; None where nothing bounds what one can cost."""
        writers = [RequestWriter(side.spec, side.pricing) for side in self._sides]
        answers = judge = Decimal(0)
        for _, _, prompt, chars in self._heap:
            requests = [write(prompt, None, "score", chars=chars, tokens=0, attempts=0) for write in writers]
            if any(request.prompt.refusal and request.prompt.refusal_type == "unbounded" for request in requests):
                return None
            answers += max(request.most_usd for request in requests)
            judge += sum(self._judge_usd(prompt), Decimal(0))
        return MostUsd(answers, judge)

    def _judge_usd(self, prompt: Prompt) -> Iterator[Decimal]:
        """Of each question about a row, as often as it may be asked."""
        spec = self._job.judge
        if spec is None or self._judge is None:
            return
        ours = len(judge_messages(self._pilot, prompt.messages)) + _BODY_BYTES
        shown = [_BYTES_PER_TOKEN * min(side.longest_of(prompt), ANSWER_CHARS) for side in self._sides]
        if self._pilot.judge == "pairwise":
            shown = [sum(shown)] * len(QUESTIONS[self._pilot.judge])
        for each in shown:
            yield MOST_TRIES * self._judge.most_usd(ours + each, longest_output(spec.sent_params))
