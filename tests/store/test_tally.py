"""Done rows, their bill and their tokens: the same as they come, from journals, and from sealed parts."""

from __future__ import annotations

import tempfile
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from answers import NO_COLUMNS, result
from batchroute.store.columns import ResultColumns
from batchroute.store.layout import RunLayout
from batchroute.store.rows import RunStore

if TYPE_CHECKING:
    from batchroute.types import Result

tokens = st.none() | st.integers(0, 10_000)
results = st.builds(
    result,
    st.integers(0, 8),
    st.sampled_from(["ok", "refused", "failed", "open"]),
    st.sampled_from(["strong", "weak"]),
    cost_usd=st.none() | st.integers(0, 1000).map(lambda cents: cents / 64),
    prompt_tokens=tokens,
    completion_tokens=tokens,
)


def once_done(entries: list[Result]) -> list[Result]:
    """Without what comes after a row's end."""
    kept, done = [], set()
    for entry in entries:
        if entry.row not in done:
            kept.append(entry)
        if entry.status in {"ok", "refused"}:
            done.add(entry.row)
    return kept


def opened(folder: str) -> RunStore:
    return RunStore(RunLayout(Path(folder)), ResultColumns(NO_COLUMNS, raw=False), mode=0o700)


@given(entries=st.lists(results, max_size=30).map(once_done))
def test_what_is_counted_stands_in_the_files(entries: list[Result]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = opened(folder)
        latest = {entry.row: entry for entry in entries}
        for number, entry in enumerate(entries):
            before = next((each for each in reversed(entries[:number]) if each.row == entry.row), None)
            assert store.record(entry) == before
        spent_usd = sum((Decimal(repr(entry.cost_usd or 0.0)) for entry in latest.values()), Decimal(0))
        answered = [entry for entry in latest.values() if entry.status == "ok"]
        counted = {
            name: (
                len(rows),
                sum(row.prompt_tokens or 0 for row in rows),
                sum(row.completion_tokens or 0 for row in rows),
            )
            for name in ("strong", "weak")
            if (
                rows := [
                    row
                    for row in answered
                    if row.route == name and None not in (row.prompt_tokens, row.completion_tokens)
                ]
            )
        }
        unsealed = opened(folder)
        unsealed.close()
        store.finish()
        for each in (store, unsealed, opened(folder)):
            assert each.spent_usd == spent_usd
            assert each.tally.ok.total() == len(answered)
            assert {
                name: (sums.rows, sums.prompt, sums.completion) for name, sums in each.tally.tokens.items()
            } == counted
