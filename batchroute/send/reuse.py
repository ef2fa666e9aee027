"""Answers of finished runs, for rows that ask the same again.

A row is the same if its request is, to the byte: the model, all params and the messages. Every run keeps, in a
folder beside its results, a fingerprint of the request behind each answer. Nothing else would do: its input may
have changed since, or be gone, and results do not hold what was asked. What is read of a run are those
fingerprints and, of the rows that match, the answers.

Memory: one part of results at a time, and what `Scratch` takes. Fingerprints and the answers of parts that have a
match lie on disk while rows are matched, so that they may come in any order.
"""

from __future__ import annotations

import asyncio
import contextlib
from bisect import bisect_right
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchroute.errors import RunFault
from batchroute.send.body import FINGERPRINT_BYTES
from batchroute.send.classify import Answer
from batchroute.send.request import Outcome, Sink, Spent
from batchroute.send.scratch import Scratch
from batchroute.store.columns import RAW, reserved_names
from batchroute.store.identity import read_identity
from batchroute.store.layout import RunLayout, fingerprints_of
from batchroute.types import TOKEN_COUNTS, Completion, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence
    from contextlib import AbstractContextManager

    from batchroute.send.request import Request
    from batchroute.types import StopReason

LOOKED_UP_AT_ONCE = 1024
_TEXTS = tuple(name for name in Completion.__struct_fields__ if name != "usage")


@dataclass(frozen=True, slots=True)
class AnsweredPart:
    """A part of a finished run: its `answers` ok rows have the places from `first` on, in their order.

    `columns` are those of ours that it has: in an older format, a kept column may bear a name that is ours now.
    """

    path: Path
    first: int
    answers: int
    columns: Sequence[str]

    def fingerprints(self) -> list[bytes]:
        """[answers] those of the requests that were answered; RunFault where they cannot be read."""
        path = fingerprints_of(self.path)
        try:
            column = pq.read_table(path)["fingerprint"].cast(pa.binary(FINGERPRINT_BYTES))
        except (OSError, pa.ArrowInvalid) as error:
            raise RunFault(f"{path}: cannot be read ({error}); take its run out of input.reuse") from error
        if len(column) != self.answers:
            raise RunFault(f"{path}: does not fit its part of the results; take its run out of input.reuse")
        fingerprints: list[bytes] = column.to_pylist()
        return fingerprints


@dataclass(frozen=True, slots=True)
class AnsweredParts:
    """The parts of all runs, in the order of the job; `raw`: whole answers are wanted, too."""

    parts: Sequence[AnsweredPart]
    raw: bool

    @property
    def answers(self) -> int:
        """How many there are, equal ones counted each."""
        return sum(part.answers for part in self.parts)


def answered_parts(runs: Sequence[str], output: Path, *, raw: bool) -> AnsweredParts:
    """What these runs answered, for one in `output`; RunFault where one is no run, or kept less than is wanted."""
    parts: list[AnsweredPart] = []
    first = 0
    for name in runs:
        run = _run_at(Path(name), output)
        columns = reserved_names(read_identity(run).format)
        for path in run.parts():
            status = _read(path, ["status"])["status"]
            if raw and RAW.name not in pq.read_schema(path).names:
                raise RunFault(f"input.reuse: {name} kept no whole answers, which output.raw asks for")
            if answers := int(pc.sum(pc.equal(status, "ok")).as_py() or 0):
                parts.append(AnsweredPart(path, first, answers, columns))
                first += answers
    return AnsweredParts(parts, raw)


def _run_at(run: Path, output: Path) -> RunLayout:
    if run.resolve() == output.resolve():
        raise RunFault(f"input.reuse: {run} is this job's own output.path; name another run")
    layout = RunLayout(run)
    if not layout.job.is_file():
        raise RunFault(f"input.reuse: {run} is not a run directory (it has no {layout.job.name})")
    return layout


class Reuse:
    """Finds the answers to requests that were asked before, until it is closed."""

    def __init__(self, answered: AnsweredParts, folder: Path) -> None:
        """`folder` is for the scratch file. RunFault where a run cannot be read, Stopped for a full disk."""
        self.sent = 0
        self._answered = answered
        self._stopping = False
        self._loaded: set[AnsweredPart] = set()
        self._scratch = Scratch(folder)
        try:
            for part in answered.parts:
                self._scratch.add_fingerprints(part.fingerprints(), part.first)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Nothing is left on disk."""
        self._scratch.close()

    def answers(self, fingerprints: Sequence[bytes]) -> list[Answer | None]:
        """[n] the answer to each of these requests, None where there is none; of several the first run's."""
        places = self._scratch.places(fingerprints)
        for part in {self._part_at(place) for place in places.values()} - self._loaded:
            self._scratch.add_answers(self._read_answers(part), part.first)
            self._loaded.add(part)
        answers = self._scratch.answers(list(places.values()))
        return [answers[places[each]] if each in places else None for each in fingerprints]

    async def deliver(self, requests: AsyncGenerator[Request, None], sink: Sink[Request]) -> None:
        """See `Delivery`: settles the requests that were asked before, leaves all others."""
        async with contextlib.aclosing(_batched(requests)) as batches:
            async for batch in batches:
                if self._stopping:
                    return
                answers = await asyncio.to_thread(self.answers, [request.fingerprint for request in batch])
                for request, answer in zip(batch, answers, strict=True):
                    if answer is None:
                        sink.leave(request, Spent(request.attempts, ()))
                    else:
                        usages = () if answer.usage is None else (answer.usage,)
                        sink.settle(request, Outcome("ok", answer, request.attempts, usages))

    def starved(self) -> AbstractContextManager[None]:
        """See `Delivery`: no request waits for another one."""
        return contextlib.nullcontext()

    def stop(self, reason: StopReason | None = None) -> None:
        """See `Delivery`."""
        self._stopping = True

    def abandon(self) -> None:
        """See `Delivery`: nothing is in flight."""
        self.stop()

    def _part_at(self, place: int) -> AnsweredPart:
        parts = self._answered.parts
        return parts[bisect_right(parts, place, key=attrgetter("first")) - 1]

    def _read_answers(self, part: AnsweredPart) -> Iterator[Answer]:
        wanted = [*_TEXTS, *TOKEN_COUNTS, *([RAW.name] if self._answered.raw else [])]
        names = [name for name in wanted if name in part.columns]
        table = _read(part.path, ["status", *names])
        for batch in table.filter(pc.equal(table["status"], "ok")).select(names).to_batches(1024):
            yield from map(_answer, batch.to_pylist())


async def _batched(requests: AsyncGenerator[Request, None]) -> AsyncGenerator[list[Request], None]:
    """So many at a time as are looked for together."""
    batch: list[Request] = []
    async with contextlib.aclosing(requests):
        async for request in requests:
            batch.append(request)
            if len(batch) == LOOKED_UP_AT_ONCE:
                yield batch
                batch = []
    if batch:
        yield batch


def _read(part: Path, columns: Sequence[str]) -> pa.Table:
    try:
        return pq.read_table(part, columns=list(columns))
    except (OSError, pa.ArrowInvalid) as error:
        raise RunFault(f"{part}: cannot be read ({error}); take its run out of input.reuse") from error


def _answer(row: dict[str, Any]) -> Answer:
    usage = Usage(**{name: row.get(name) for name in TOKEN_COUNTS})
    texts = {name: row.get(name) for name in _TEXTS}
    known = usage if usage != Usage() else None
    return Answer(verdict="ok", completion=Completion(**texts, usage=known), body=row.get(RAW.name))
