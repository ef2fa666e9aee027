"""Answers of finished runs, for rows that ask the same again.

A row is the same if its request is, to the byte: the model, all params and the messages. Every run keeps, in a
folder beside its results, a fingerprint of the request behind each answer. Nothing else would do: its input may
have changed since, or be gone, and results do not hold what was asked. What is read of a run are those
fingerprints and, of the rows that match, the answers.

Memory: one part of results at a time. Both the fingerprints and the answers of parts that have a match lie sorted
out on disk while rows are matched, so that they may come in any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchroute.errors import RunFault
from batchroute.send.body import FINGERPRINT_BYTES
from batchroute.send.classify import Answer
from batchroute.send.lookup import Lookup
from batchroute.send.spool import Spool
from batchroute.store.directory import JOB_FILE
from batchroute.store.files import saving
from batchroute.store.identity import read_identity
from batchroute.store.parts import RAW, fingerprints_of
from batchroute.types import Completion, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from batchroute.job.spec import Job
    from batchroute.send.request import Request

_TOKENS = Usage.__struct_fields__
_TEXTS = tuple(name for name in Completion.__struct_fields__ if name != "usage")


@dataclass(frozen=True, slots=True)
class AnsweredParts:
    """Parts of finished runs, and how many answers each has; `raw`: whole answers are wanted, too."""

    parts: Sequence[Path]
    answers: NDArray[np.int64]
    raw: bool

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """[n, 16] of each part, as often as asked for."""
        for part, answers in zip(self.parts, self.answers.tolist(), strict=True):
            path = fingerprints_of(part)
            try:
                column = pq.read_table(path)["fingerprint"].cast(pa.binary(FINGERPRINT_BYTES)).combine_chunks()
            except (OSError, pa.ArrowInvalid) as error:
                raise RunFault(f"{path}: cannot be read ({error}); take its run out of input.reuse") from error
            if len(column) != answers:
                raise RunFault(f"{path}: does not fit its part of the results; take its run out of input.reuse")
            yield np.frombuffer(column.buffers()[1], np.uint8).reshape(-1, FINGERPRINT_BYTES)[column.offset :]


def answered_parts(job: Job, *, raw: bool) -> AnsweredParts:
    """What stands in the runs of `input.reuse`; RunFault where one is no run, or kept less than is wanted."""
    parts: list[Path] = []
    answers: list[int] = []
    for name in job.input.reuse:
        for part in _parts_of(Path(name), Path(job.output.path)):
            table = _read(part, ["status"])
            if raw and RAW.name not in pq.read_schema(part).names:
                raise RunFault(f"input.reuse: {name} kept no whole answers, which output.raw asks for")
            if count := int(pc.sum(pc.equal(table["status"], "ok")).as_py() or 0):
                parts.append(part)
                answers.append(count)
    return AnsweredParts(parts, np.array(answers, np.int64), raw)


def _parts_of(run: Path, output: Path) -> list[Path]:
    if run.resolve() == output.resolve():
        raise RunFault(f"input.reuse: {run} is this job's own output.path; name another run")
    if not (run / JOB_FILE).is_file():
        raise RunFault(f"input.reuse: {run} is not a run directory (it has no {JOB_FILE})")
    read_identity(run / JOB_FILE)
    return sorted((run / "results").glob("part-*.parquet"))


class Reuse:
    """Finds the answers to requests that were asked before, until it is closed."""

    def __init__(self, answered: AnsweredParts, scratch: Path) -> None:
        """`scratch` is a directory for what lies on disk; RunFault where a run cannot be read."""
        self._answered = answered
        self._scratch = scratch
        self._ends = answered.answers.cumsum()
        with saving(scratch):
            self._lookup = Lookup(answered, scratch)
            self._spool = Spool(scratch)

    def close(self) -> None:
        """Nothing is left on disk."""
        self._spool.close()

    def answers(self, fingerprints: Sequence[bytes]) -> list[Answer | None]:
        """[n] the answer to each of these requests, None where nobody asked it."""
        numbers = self._lookup.find(fingerprints)
        answers: list[Answer | None] = [None] * len(numbers)
        known = np.flatnonzero(numbers >= 0)
        parts = np.searchsorted(self._ends, numbers[known], side="right")
        for part in np.unique(parts).tolist():
            mine = known[parts == part]
            first = self._ends[part] - self._answered.answers[part]
            for place, answer in zip(
                mine.tolist(), self._of_part(part, (numbers[mine] - first).tolist()), strict=True
            ):
                answers[place] = answer
        return answers

    def matches(self, chunks: Iterable[Sequence[Request]]) -> Iterator[list[tuple[Request, Answer]]]:
        """Of each chunk the requests that were asked before, with their answers."""
        for requests in chunks:
            able = [request for request in requests if request.prompt.refusal is None]
            answers = self.answers([request.fingerprint for request in able])
            yield [(request, answer) for request, answer in zip(able, answers, strict=True) if answer is not None]

    def _of_part(self, part: int, numbers: Sequence[int]) -> Iterator[Answer]:
        if part not in self._spool:
            with saving(self._scratch):
                self._spool.add(part, self._read_part(part))
        return self._spool.fetch(part, numbers)

    def _read_part(self, part: int) -> Iterator[Answer]:
        names = [*_TEXTS, *_TOKENS, *([RAW.name] if self._answered.raw else [])]
        table = _read(self._answered.parts[part], ["status", *names])
        for batch in table.filter(pc.equal(table["status"], "ok")).select(names).to_batches(1024):
            yield from map(_answer, batch.to_pylist())


def _read(part: Path, columns: Sequence[str]) -> pa.Table:
    try:
        return pq.read_table(part, columns=list(columns))
    except (OSError, pa.ArrowInvalid) as error:
        raise RunFault(f"{part}: cannot be read ({error}); take its run out of input.reuse") from error


def _answer(row: dict[str, Any]) -> Answer:
    usage = Usage(**{name: row[name] for name in _TOKENS})
    texts = {name: row[name] for name in _TEXTS}
    known = usage if usage != Usage() else None
    return Answer(verdict="ok", completion=Completion(**texts, usage=known), body=row.get(RAW.name))
