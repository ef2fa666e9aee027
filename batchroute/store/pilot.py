"""What rows were asked beside their own side: the answers of a pilot and of watched rows, and what a judge said.

One journal has it all, so that after a crash at any moment nothing that was paid is asked again:

    pilot/answers.journal   a record for each answer and each verdict; the newest of a key counts
    pilot/verdicts.jsonl    the verdicts, to be read by people
    pilot/rows.parquet      each row with both answers and their grades; labels.parquet: the same as labels
    pilot/watch.parquet     the same of later rows that both sides were asked
    pilot/pilot.json        what the pilot found (report/quality)
    pilot/model             the router that was fitted on it, if one was

The answer of the side that a row is routed to becomes its result. It is *taken* then: the results have its cost
from there on. The mark is written before the result, so that a crash between the two leaves a row without a
result, which takes the same answer again; never a cost that stands twice. The mark says how many attempts the row
had made before, so that the two cases can be told apart:

    row 7 failed after 6 attempts of the pilot    taken, 0 attempts before
    killed before its result is on file           the row has made 0: it takes the answer, and fails
    its result is on file: failed, 6 attempts     the row has made 6: it is asked

What an answer says is a payload here, for who put it there to read.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from batchroute.store.files import saving
from batchroute.store.journal import SYNC_EVERY_S, Journal, read_records
from batchroute.store.tally import known_usd

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchroute.store.layout import RunLayout

Kind: TypeAlias = Literal["pilot", "watch", "verdict", "taken", "seen"]
_COST_NOTHING = frozenset({"taken", "seen"})  # a mark, and an answer whose cost the results have
Key: TypeAlias = tuple[str, str, str, int]  # kind, route, file, row


class PilotRecord(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """One answer, or one verdict, or the mark that an answer was taken.

    `route` is the endpoint that was asked, of a verdict the question; `status` is one of `types.Status`.
    `cost_usd` is that of all attempts so far, None where it is unknown. `attempts`, of a mark: see above.
    """

    kind: Kind
    route: str
    file: str
    row: int
    status: str = "ok"
    cost_usd: float | None = None
    payload: bytes = b""
    attempts: int = 0

    @property
    def key(self) -> Key:
        return self.kind, self.route, self.file, self.row


@dataclass(frozen=True, slots=True)
class PilotBill:
    """USD of the answers that no row took and of the verdicts; not `complete` where the cost of one is unknown.

    `judge_usd` is what is known of the verdicts, `answers_usd` of the answers by the endpoint that gave them.
    """

    usd: Decimal = Decimal(0)
    judge_usd: Decimal = Decimal(0)
    answers_usd: Mapping[str, Decimal] = field(default_factory=dict)
    complete: bool = True


class PilotStore:
    """The journal of one locked run directory, and its records in memory."""

    def __init__(self, layout: RunLayout, *, mode: int) -> None:
        """Reads what earlier runs left."""
        self._records: dict[Key, PilotRecord] = {}
        self._usd = Decimal(0)
        with saving(layout.pilot):
            layout.pilot.mkdir(mode=mode, exist_ok=True)
            self._journal = Journal(layout.pilot_answers)
        for record in read_records(layout.pilot_answers, PilotRecord):
            self._count(record)

    @property
    def has_answers(self) -> bool:
        """Whether anything was answered that other settings of the job would make worthless."""
        return any(
            record.kind not in _COST_NOTHING and record.status in {"ok", "refused"}
            for record in self._records.values()
        )

    @property
    def spent_usd(self) -> Decimal:
        """What is known of the bill: see `PilotBill`."""
        return self._usd

    def get(self, kind: Kind, route: str, file: str, row: int) -> PilotRecord | None:
        return self._records.get((kind, route, file, row))

    def of(self, kind: Kind) -> Iterator[PilotRecord]:
        """All records of a kind, in the order in which their keys came up."""
        return (record for record in list(self._records.values()) if record.kind == kind)

    def put(self, record: PilotRecord) -> None:
        """Puts it on file, in the place of one with the same key; Stopped where the disk takes no more."""
        with saving(self._journal.path):
            self._journal.append(record)
        self._count(record)

    def taken(self, route: str, file: str, row: int) -> PilotRecord | None:
        """The mark of an answer that became its row's result, or was about to."""
        return self._records.get(("taken", route, file, row))

    def take(self, route: str, file: str, row: int, *, attempts: int) -> None:
        """The answer becomes the result of the row, which made so many `attempts` before, and has its cost."""
        if self.taken(route, file, row) is None:
            self.put(PilotRecord("taken", route, file, row, attempts=attempts))

    async def keep_synced(self) -> None:
        """Forces the journal onto the disk a few times a second, until cancelled."""
        while True:
            await asyncio.sleep(SYNC_EVERY_S)
            await asyncio.to_thread(self.sync)

    def sync(self) -> None:
        with saving(self._journal.path):
            self._journal.sync()

    def close(self) -> None:
        self.sync()
        self._journal.close()

    def _count(self, record: PilotRecord) -> None:
        self._usd += _change_usd(self._records, record)
        self._records[record.key] = record


def _change_usd(records: dict[Key, PilotRecord], record: PilotRecord) -> Decimal:
    """What a record changes of the bill."""
    if record.kind == "seen":
        return Decimal(0)
    if record.kind == "taken":
        answer = records.get(("pilot", *record.key[1:]))
        return Decimal(0) if record.key in records else -known_usd(answer)
    if ("taken", *record.key[1:]) in records and record.kind == "pilot":
        return Decimal(0)
    return known_usd(record) - known_usd(records.get(record.key))


def read_pilot_bill(layout: RunLayout) -> PilotBill:
    """What stands in a directory, also beside a run at work on it."""
    records: dict[Key, PilotRecord] = {}
    usd = Decimal(0)
    for record in read_records(layout.pilot_answers, PilotRecord):
        usd += _change_usd(records, record)
        records[record.key] = msgspec.structs.replace(record, payload=b"")
    answers_usd: dict[str, Decimal] = {}
    for record in records.values():
        if record.kind == "watch" or (record.kind == "pilot" and ("taken", *record.key[1:]) not in records):
            answers_usd[record.route] = answers_usd.get(record.route, Decimal(0)) + known_usd(record)
    judge_usd = usd - sum(answers_usd.values(), Decimal(0))
    is_complete = not any(_is_unknown(record, records) for record in records.values())
    return PilotBill(usd, judge_usd, answers_usd, is_complete)


def _is_unknown(record: PilotRecord, records: dict[Key, PilotRecord]) -> bool:
    is_taken = record.kind == "pilot" and ("taken", *record.key[1:]) in records
    has_cost = record.kind not in _COST_NOTHING and not is_taken
    return has_cost and record.status == "ok" and record.cost_usd is None
