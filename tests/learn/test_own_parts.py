"""The two parts of a pilot and the folds of one: how many, drawn how."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.learn.own.parts import FOLDS, deal_folds, split_parts


@pytest.mark.parametrize(
    ("sizes", "in_a"),
    [
        ([60] * 10, [24] * 10),
        ([20], [8]),
        ([61, 61, 59], [24, 24, 24]),
        ([1, 1, 1], [0, 0, 0]),
        ([2, 3, 4], [1, 1, 2]),
        ([0], [0]),
    ],
)
def test_a_part_is_two_fifths_of_every_stratum(sizes: list[int], in_a: list[int]) -> None:
    strata = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    parts = split_parts(strata, seed=1)
    assert set(parts) <= {"A", "B"}
    assert [int((parts[strata == stratum] == "A").sum()) for stratum in range(len(sizes))] == in_a


def test_the_seed_decides_who_is_in_which_part() -> None:
    strata = np.repeat(np.arange(10), 60)
    first, again, other = (split_parts(strata, seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    chances = np.mean([split_parts(strata[:20], seed) == "A" for seed in range(2000)], axis=0)
    np.testing.assert_allclose(chances, 0.4, atol=0.06)  # no place in a stratum is favoured


@settings(max_examples=50)
@given(st.lists(st.sampled_from([0.1, 0.2, 0.5]) | st.floats(0, 1), max_size=60), st.integers(0, 99))
def test_every_fold_is_like_the_whole_by_score(scores: list[float], seed: int) -> None:
    folds = deal_folds(np.array(scores), seed)
    assert ((folds >= 0) & (folds < FOLDS)).all()
    order = np.lexsort((folds, scores))
    for least in sorted(set(scores)):
        above = np.bincount(folds[order[np.searchsorted(np.array(scores)[order], least) :]], minlength=FOLDS)
        assert np.ptp(above) <= 2
