"""The pilot's journal against a plain model of it: what stands there, what it cost, whether all that is known."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.errors import RunFault
from batchroute.store.journal import Journal
from batchroute.store.layout import RunLayout
from batchroute.store.pilot import PilotRecord, PilotStore, read_pilot_bill
from batchroute.types import Result

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

COSTS = st.one_of(st.none(), st.integers(0, 10_000).map(lambda micro: micro / 1_000_000))
STATUSES = st.sampled_from(["ok", "refused", "failed", "open"])
ROUTES, FILES, ROWS = st.sampled_from(["strong", "weak"]), st.sampled_from(["a", "b"]), st.integers(0, 2)
ANSWERS = st.builds(
    PilotRecord, st.sampled_from(["pilot", "watch", "verdict"]), ROUTES, FILES, ROWS, STATUSES, COSTS, st.binary()
)
MARKS = st.builds(PilotRecord, st.just("taken"), ROUTES, FILES, ROWS, attempts=st.integers(0, 6))


class Modelled(NamedTuple):
    usd: Decimal
    judge_usd: Decimal
    complete: bool


def model(records: Sequence[PilotRecord]) -> Modelled:
    """The newest of each key counts, but a pilot's answer that is taken costs its row's result from then on."""
    newest = {record.key: record for record in records}
    taken = {record.key[1:] for record in records if record.kind == "taken"}
    billed = [
        record
        for record in newest.values()
        if record.kind != "taken" and not (record.kind == "pilot" and record.key[1:] in taken)
    ]
    usd = [Decimal(repr(record.cost_usd or 0.0)) for record in billed]
    judged = [cost for cost, record in zip(usd, billed, strict=True) if record.kind == "verdict"]
    unknown = [record for record in billed if record.cost_usd is None and record.status == "ok"]
    return Modelled(sum(usd, Decimal(0)), sum(judged, Decimal(0)), not unknown)


def opened(folder: Path) -> PilotStore:
    return PilotStore(RunLayout(folder), mode=0o700)


@given(st.lists(st.one_of(ANSWERS, MARKS), max_size=30), st.integers(0, 30), st.binary(max_size=30))
def test_the_bill_is_that_of_a_plain_model(
    tmp_path_factory: pytest.TempPathFactory, records: list[PilotRecord], reopened_at: int, torn: bytes
) -> None:
    """Whichever records come, wherever it is closed and opened between, torn end or not."""
    folder = tmp_path_factory.mktemp("pilot")
    store = opened(folder)
    for number, record in enumerate(records):
        if number == reopened_at:
            store.close()
            with RunLayout(folder).pilot_answers.open("ab") as file:
                file.write(torn)
            store = opened(folder)
        store.put(record)
        expected = model(records[: number + 1])
        assert store.spent_usd == expected.usd
        bill = read_pilot_bill(RunLayout(folder))
        assert (bill.usd, bill.judge_usd, bill.complete) == expected
    newest = {record.key: record for record in records}
    assert {key: store.get(*key) for key in newest} == newest
    store.close()


def test_a_mark_is_written_once(tmp_path: Path) -> None:
    """So the attempts on it are those before the answer was taken first, however often a crash came after it."""
    store = opened(tmp_path)
    store.put(PilotRecord("pilot", "weak", "a", 1, "failed", 0.25))
    store.take("weak", "a", 1, attempts=0)
    store.take("weak", "a", 1, attempts=6)
    mark = store.taken("weak", "a", 1)
    assert mark is not None
    assert mark.attempts == 0
    assert store.taken("strong", "a", 1) is None
    assert store.spent_usd == 0
    store.close()


def test_another_journal_is_not_taken_for_it(tmp_path: Path) -> None:
    layout = RunLayout(tmp_path)
    layout.pilot.mkdir()
    journal = Journal(layout.pilot_answers)
    journal.append(
        Result(
            file="a",
            row=0,
            status="ok",
            id=None,
            score=None,
            route=None,
            route_reason=None,
            model=None,
            attempts=1,
            finished_at=0,
        )
    )
    journal.close()
    with pytest.raises(RunFault, match=r"answers\.journal"):
        opened(tmp_path)
