"""An answer as a value, what is billed for it, and the reply that it becomes; knows no dialect and no fault."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchroute.simulate.question import Question

Delivery = Literal["whole", "events", "reset", "cut", "slow", "endless", "stall", "hang"]
# Why an answer ends; each dialect has words of its own for it.
Finish = Literal["stop", "length", "tool", "content_filter"]
EVENTS = "text/event-stream; charset=utf-8"
CHUNK_CHARS = 40  # of a stream's pieces
CHARS_PER_TOKEN = 4  # of an answer's text
NO_HEADERS: Mapping[str, str] = {}


class TrueBill(msgspec.Struct, frozen=True):
    """What a provider bills for one request, in tokens.

    Tokens read from a cache and written to one are parts of the prompt, those written for an hour a part of what
    is written; reasoning is a part of the completion. `cost_usd` is set where the answer itself names its cost.
    """

    model: str
    tier: str = "default"
    prompt_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0
    written_1h_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float | None = None


class Call(NamedTuple):
    """A tool call; `arguments` is JSON."""

    name: str
    arguments: str


class FlawlessAnswer(msgspec.Struct, frozen=True):
    """A flawless answer. `number` is what its ids are made of; `tier` is the one that it names, None for none."""

    number: int
    bill: TrueBill
    finish: Finish
    text: str | None = None
    call: Call | None = None
    refusal: str | None = None
    tier: str | None = "default"

    def pieces(self) -> list[str]:
        """What a stream sends one after another: the text, the refusal or the call's arguments."""
        whole = self.call.arguments if self.call else self.refusal or self.text or ""
        return [whole[start : start + CHUNK_CHARS] for start in range(0, len(whole), CHUNK_CHARS)]


class SimulatedError(NamedTuple):
    """An error before a dialect shapes it."""

    status: int
    code: str | None
    message: str


class Reply(msgspec.Struct, frozen=True):
    """One reply. `bill` is what a provider would bill for it, None where it bills nothing.

    A `status` of 0 means that no status line is ever sent; `after_s` is how long the client is kept waiting. The
    body of a `refusal` is written when its request's id and dialect are known.
    """

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = NO_HEADERS
    delivery: Delivery = "whole"
    after_s: float = 0.0
    bill: TrueBill | None = None
    refusal: SimulatedError | None = None
    question: Question | None = None
    answer: FlawlessAnswer | None = None


def reply_to(question: Question, answer: FlawlessAnswer) -> Reply:
    """The answer in the question's dialect, whole or as a stream."""
    if question.stream:
        return event_stream(question, answer)
    body = msgspec.json.encode(question.whole(answer))
    return Reply(200, body, bill=answer.bill, question=question, answer=answer)


def event_stream(question: Question, answer: FlawlessAnswer) -> Reply:
    """The answer as a stream, asked for or not."""
    body = b"".join(question.events(answer))
    return Reply(200, body, EVENTS, delivery="events", bill=answer.bill, question=question, answer=answer)


def json_reply(value: object) -> Reply:
    """200 with `value` as JSON."""
    return Reply(200, msgspec.json.encode(value))


def refused(status: int, code: str | None, message: str, headers: Mapping[str, str] = NO_HEADERS) -> Reply:
    """A refusal, which its dialect will shape."""
    return Reply(status, headers=headers, refusal=SimulatedError(status, code, message))


def now() -> int:
    """What answers are dated with."""
    return int(time.time())
