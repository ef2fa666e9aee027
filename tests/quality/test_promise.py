"""`quality_threshold`: what is chosen, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from batchroute.quality.promise import quality_threshold

RANDOM = np.random.default_rng(0)


def test_a_weak_side_that_is_as_good_is_all_that_is_needed() -> None:
    scores = RANDOM.random(5000)
    grades = (RANDOM.random(400) < 0.9).astype(np.float64)
    choice = quality_threshold(scores[:400], grades, grades, quality=0.95, job_scores=scores)
    assert choice.verdict == "all weak"
    assert choice.threshold == math.nextafter(scores.max(), math.inf)
    assert choice.strong_share == 0
    assert choice.low <= choice.kept == 1 <= choice.high


@pytest.mark.parametrize("rows", [0, 1, 9])
def test_a_handful_of_rows_shows_nothing_of_a_large_job(rows: int) -> None:
    scores = RANDOM.random(5000)
    grades = RANDOM.random(rows)
    choice = quality_threshold(scores[:rows], grades, grades * 0.5, quality=0.95, job_scores=scores)
    assert (choice.verdict, choice.threshold, choice.strong_share) == ("all strong", 0.0, 1.0)
    assert choice.kept == choice.low == choice.high == 1


@pytest.mark.parametrize(
    ("strong", "weak", "words"),
    [
        ([0.5, 1.5], [0.1, 0.1], "strong has grades outside"),
        ([0.5, 0.5], [0.1, -0.1], "weak has grades outside"),
        ([0.5, math.nan], [0.1, 0.1], "strong has values that are no numbers"),
        ([0.5], [0.1, 0.1], "of one length"),
    ],
)
def test_grades_that_are_none_are_refused(strong: list[float], weak: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        quality_threshold(np.array([0.1, 0.2]), np.array(strong), np.array(weak), quality=0.95)
