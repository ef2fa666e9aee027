from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from batchroute.store.rows import DoneRows

ROWS = st.lists(st.integers(0, 5000), max_size=40)


@given(added=st.lists(st.tuples(st.sampled_from("ab"), ROWS), max_size=8), asked=ROWS, one_by_one=st.booleans())
def test_it_is_a_set_of_rows_by_file(
    added: list[tuple[str, list[int]]], asked: list[int], one_by_one: bool
) -> None:
    done = DoneRows()
    for file, rows in added:
        if one_by_one:
            for row in rows:
                done.add_row(file, row)
        else:
            done.add(file, np.array(rows, np.int64))
    for file in "abc":
        known = {row for other, rows in added if other == file for row in rows}
        assert done.mask(file, np.array(asked, np.int64)).tolist() == [row in known for row in asked]


def test_memory_is_bits_not_objects() -> None:
    done = DoneRows()
    for start in range(0, 1_000_000, 10_000):
        done.add("a", np.arange(start, start + 10_000))
    assert done.mask("a", np.arange(1_000_100)).sum() == 1_000_000
    assert sum(len(bits) for bits in done._bits.values()) <= 2 * 1_000_000 / 8


def test_a_copy_stays_as_it_is() -> None:
    done = DoneRows()
    done.add_row("a", 3)
    copied = done.copy()
    done.add_row("a", 4)
    assert copied.mask("a", np.array([3, 4])).tolist() == [True, False]
