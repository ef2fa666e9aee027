"""A judge that is a model: its questions through a lane of its own, its verdicts on file before anything else.

    rubric    about each answer by itself         "strong", "weak"
    pairwise  about both, in both orders          "strong_first", "weak_first"

Knows how a question is asked, kept and repeated; its words, and what a verdict means, are in the room grade.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from batchroute.grade.pairwise import RESPONSE_FORMAT as BETTER
from batchroute.grade.pairwise import BothOrders, pairwise_messages, preference
from batchroute.grade.rubric import RESPONSE_FORMAT as POINTS
from batchroute.grade.rubric import rubric_grade, rubric_messages
from batchroute.grade.sides import JudgedRow, came, side_grades
from batchroute.job.params.translate import untranslatable
from batchroute.run.feed import RequestWriter
from batchroute.run.pilot.files import VerdictLine
from batchroute.run.pilot.judge import JudgeGrades
from batchroute.run.settle import at_todays_price, billed_usd
from batchroute.send.classify import Answer, stop_reason
from batchroute.send.request import Outcome
from batchroute.send.tokens import estimate_tokens
from batchroute.store.pilot import PilotRecord
from batchroute.types import Prompt, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchroute.grade.pairwise import Preference
    from batchroute.job.endpoint import EndpointSpec
    from batchroute.job.pilot import PilotSpec
    from batchroute.job.prices import Target
    from batchroute.run.pilot.judge import AnsweredRow
    from batchroute.run.pilot.queue import RequestQueue
    from batchroute.send.request import Delivery, Request, Spent
    from batchroute.store.pilot import PilotStore

Question: TypeAlias = Literal["strong", "weak", "strong_first", "weak_first"]
QUESTIONS: dict[str, tuple[Question, ...]] = {
    "rubric": ("strong", "weak"),
    "pairwise": ("strong_first", "weak_first"),
}
MOST_TRIES = 2  # of a question whose verdict cannot be read
# Refusals of a form of answer that a server does not know; of what it is shown they have types of their own.
_TURNED_DOWN = frozenset({"http_400", "http_422", "http_500"})


class Verdict(msgspec.Struct, frozen=True):
    """What a judge said to one question.

    `tries`: how often it said anything, over all runs; `at` in seconds since the epoch; `prompt` is chat messages.
    """

    outcome: Outcome
    tries: int
    at: float
    prompt: bytes = b"[]"

    @property
    def text(self) -> str | None:
        """None where no answer came."""
        completion = self.outcome.answer.completion
        return None if completion is None or self.outcome.status != "ok" else completion.response


@dataclass(frozen=True, slots=True)
class _OpenQuestion:
    question: Question
    row: AnsweredRow

    @property
    def place(self) -> tuple[str, str, int]:
        prompt = self.row.sampled.prompt
        return self.question, prompt.file, prompt.row


class ModelJudge:
    """Asks what is not on file; the `Sink` of its lane, which is given the requests of `queue`."""

    def __init__(
        self,
        pilot: PilotSpec,
        spec: EndpointSpec,
        target: Target,
        store: PilotStore,
        queue: RequestQueue,
        *,
        reserves: bool,
    ) -> None:
        """`reserves`: a budget has to hold for each request."""
        self._kind = pilot.judge
        self._criteria = pilot.criteria
        self._target = target
        self._store = store
        self._queue = queue
        self._write = RequestWriter(spec, target.pricing if reserves else None)
        form = BETTER if pilot.judge == "pairwise" else POINTS
        self._form = None if any(untranslatable(spec.api, {"response_format": form})) else form
        self._lane: Delivery[Request] | None = None
        self._open: dict[tuple[str, str, int], _OpenQuestion] = {}
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Verdict).decode

    async def deliver(self, lane: Delivery[Request]) -> None:
        """All questions to their ends, by the judge's lane."""
        self._lane = lane
        await lane.deliver(self._queue.requests(lane), self)
        self._queue.ended()

    async def grade(self, rows: Sequence[AnsweredRow]) -> JudgeGrades | None:
        """Asks the first question alone: it shows whether the server knows the form of our verdicts."""
        missing = [asked for row in rows for asked in self._questions(row) if not self._is_settled(asked)]
        for part in (missing[:1], missing[1:]):
            for asked in part:
                self._ask(asked)
            if not await self._queue.drained():
                return None
        return self._graded(rows)

    def settle(self, request: Request, outcome: Outcome) -> None:
        """See `Sink`."""
        asked = self._open.pop(_place(request))
        had_form = request.prompt.params is not None
        if had_form and outcome.status == "refused" and outcome.answer.error_type in _TURNED_DOWN:
            self._form = None  # from now on the words of our prompt alone ask for it
            self._keep(asked, msgspec.structs.replace(outcome, status="open"))
            self._ask(asked)
        else:
            self._keep(asked, outcome)
            if outcome.status == "ok" and not self._is_settled(asked):
                self._ask(asked)
        if outcome.status == "open" and self._lane is not None:
            self._lane.stop(stop_reason(outcome.answer))
            self._queue.left()
        else:
            self._queue.done()

    def leave(self, request: Request, spent: Spent) -> None:
        """See `Sink`."""
        asked = self._open.pop(_place(request))
        if spent.attempts > request.attempts:
            self._keep(asked, Outcome("open", Answer(verdict="transient"), spent.attempts, spent.usages))
        self._queue.left()

    def verdict(self, question: Question, row: AnsweredRow) -> Verdict | None:
        """What is on file."""
        prompt = row.sampled.prompt
        record = self._store.get("verdict", question, prompt.file, prompt.row)
        return None if record is None else self._decode(record.payload)

    def lines(self) -> list[VerdictLine]:
        """All that is on file, for people to read."""
        return [self._line(record, self._decode(record.payload)) for record in self._store.of("verdict")]

    def _line(self, record: PilotRecord, verdict: Verdict) -> VerdictLine:
        read = preference if self._kind == "pairwise" else rubric_grade
        usages = verdict.outcome.usages
        return VerdictLine(
            file=record.file,
            row=record.row,
            question=record.route,
            model=self._target.model,
            prompt=msgspec.Raw(verdict.prompt),
            verdict=verdict.text,
            read=None if verdict.text is None else read(verdict.text),
            tries=verdict.tries,
            status=record.status,
            error=verdict.outcome.answer.error,
            prompt_tokens=sum(usages, Usage()).prompt_tokens,
            completion_tokens=sum(usages, Usage()).completion_tokens,
            cost_usd=record.cost_usd,
            at=verdict.at,
        )

    def _questions(self, row: AnsweredRow) -> Iterator[_OpenQuestion]:
        """Those about answers that came; of a pair there must be two."""
        strong, weak = came(row.strong), came(row.weak)
        for question in QUESTIONS[self._kind]:
            if (strong and weak) or {"strong": strong, "weak": weak}.get(question, False):
                yield _OpenQuestion(question, row)

    def _ask(self, asked: _OpenQuestion) -> None:
        verdict = self.verdict(asked.question, asked.row)
        sampled = asked.row.sampled.prompt
        messages = self._messages(asked)
        params = None if self._form is None else {"response_format": self._form}
        prompt = Prompt(sampled.file, sampled.row, asked.question, messages, params)
        attempts = 0 if verdict is None or verdict.outcome.status == "ok" else verdict.outcome.attempts
        chars = len(messages)
        request = self._write(
            prompt, None, "score", chars=chars, tokens=int(estimate_tokens(chars)), attempts=attempts
        )
        if request.prompt.refusal is not None:  # its API cannot carry it, or nothing bounds it
            why = request.prompt
            refused = Answer(verdict="refused", error_type=why.refusal_type, error=why.refusal)
            self._keep(asked, Outcome("refused", refused, attempts, ()))
            return
        self._open[asked.place] = asked
        self._queue.put(request)

    def _messages(self, asked: _OpenQuestion) -> bytes:
        row, conversation = asked.row, asked.row.sampled.prompt.messages
        if asked.question in {"strong", "weak"}:
            return rubric_messages(conversation, row.on(asked.question), self._criteria)
        pair = (row.strong, row.weak) if asked.question == "strong_first" else (row.weak, row.strong)
        return pairwise_messages(conversation, *pair, self._criteria)

    def _keep(self, asked: _OpenQuestion, outcome: Outcome) -> None:
        """On file when this returns, with what was spent on the question before."""
        before = self.verdict(asked.question, asked.row)
        pricing = self._target.pricing
        usages = (() if before is None else before.outcome.usages) + at_todays_price(outcome.usages, pricing)
        usd = billed_usd(usages, pricing)
        tries = (0 if before is None else before.tries) + (outcome.status == "ok")
        whole = Verdict(msgspec.structs.replace(outcome, usages=usages), tries, time.time(), self._messages(asked))
        payload = self._encode(whole)
        question, file, row = asked.place
        cost_usd = None if usd is None else float(usd)
        self._store.put(PilotRecord("verdict", question, file, row, outcome.status, cost_usd, payload))

    def _is_settled(self, asked: _OpenQuestion) -> bool:
        """Whether it is not asked any more: its verdict can be read, or was asked for often enough."""
        verdict = self.verdict(asked.question, asked.row)
        if verdict is None or verdict.outcome.status not in {"ok", "refused"}:
            return False
        return verdict.outcome.status == "refused" or verdict.tries >= MOST_TRIES or self._is_readable(verdict)

    def _is_readable(self, verdict: Verdict) -> bool:
        read = preference if self._kind == "pairwise" else rubric_grade
        return verdict.text is not None and read(verdict.text) is not None

    def _graded(self, rows: Sequence[AnsweredRow]) -> JudgeGrades:
        if self._kind == "rubric":
            judged = [
                JudgedRow(row.strong, row.weak, self._points("strong", row), self._points("weak", row))
                for row in rows
            ]
            return JudgeGrades(side_grades(judged, self._kind))
        pairs = [self._both_orders(row) for row in rows]
        judged = [
            JudgedRow(row.strong, row.weak, weak_grade=None if pair is None else pair.weak_grade)
            for row, pair in zip(rows, pairs, strict=True)
        ]
        agreed = [pair.agree for pair in pairs if pair is not None]
        return JudgeGrades(side_grades(judged, self._kind), sum(agreed) / len(agreed) if agreed else None)

    def _points(self, question: Question, row: AnsweredRow) -> float | None:
        text = self._text(question, row)
        return None if text is None else rubric_grade(text)

    def _both_orders(self, row: AnsweredRow) -> BothOrders | None:
        said: list[Preference | None] = []
        for question in QUESTIONS["pairwise"]:
            text = self._text(question, row)
            said.append(None if text is None else preference(text))
        strong_first, weak_first = said
        return None if strong_first is None or weak_first is None else BothOrders(strong_first, weak_first)

    def _text(self, question: Question, row: AnsweredRow) -> str | None:
        verdict = self.verdict(question, row)
        return None if verdict is None else verdict.text


def _place(request: Request) -> tuple[str, str, int]:
    """A question stands where a row has its id."""
    prompt = request.prompt
    return str(prompt.id), prompt.file, prompt.row
