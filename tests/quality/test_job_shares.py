"""A job's scores as 21 thresholds, and the strata that a sample falls into."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.quality.ranks import threshold_for_share
from batchroute.quality.shares import SHARES, JobScores

score = st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1)


@settings(max_examples=20)
@given(st.lists(st.lists(score | st.just(math.nan), max_size=40), max_size=4))
def test_thresholds_are_those_of_the_shares(parts: list[list[float]]) -> None:
    arrays = [np.array(part, np.float64) for part in parts]
    scores = np.concatenate([*arrays, np.zeros(0)])
    read, sorted_ = JobScores.read(arrays), JobScores.of(scores)
    assert np.array_equal(read.thresholds, sorted_.thresholds)
    assert np.array_equal(read.reached, sorted_.reached)
    assert read.rows == sorted_.rows == (~np.isnan(scores)).sum()
    for share, threshold, reached in zip(SHARES[1:], sorted_.thresholds[1:], sorted_.reached[1:], strict=True):
        assert (threshold, reached) == threshold_for_share([scores], share)
    assert sorted_.thresholds[0] == 0
    assert sorted_.reached[0] == sorted_.rows


@given(st.lists(score, min_size=1, max_size=200), st.integers(1, 40), st.integers(0, 5))
def test_strata_are_groups_of_neighbouring_scores_with_enough_rows(
    scores: list[float], least: int, seed: int
) -> None:
    job = np.array(scores)
    sample = np.random.default_rng(seed).choice(job, min(len(job), 60), replace=False)
    stratum, sizes, lowest = JobScores.of(job).strata(least, sample)
    counts = np.bincount(stratum, minlength=len(sizes))
    assert len(sizes) <= 10
    assert counts.min() >= min(least, len(sample))
    assert sizes.sum() == len(job)
    assert (counts <= sizes).all(), "a sample without replacement has no more rows of a stratum than there are"
    assert np.array_equal(stratum, np.searchsorted(lowest, sample, "right") - 1)
    assert np.array_equal(np.bincount(np.searchsorted(lowest, job, "right") - 1, minlength=len(sizes)), sizes)


def test_scores_of_any_range_are_all_strong_at_the_lowest_threshold() -> None:
    job = JobScores.of(np.array([-3.0, 12.0, 700.0]))
    assert job.thresholds[0] == -3
    assert job.thresholds[-1] == math.nextafter(700, math.inf)
