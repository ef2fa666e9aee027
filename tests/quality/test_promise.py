"""`quality_threshold`: what is chosen, what it may be told, and how often it breaks its promise."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import batchroute as br
from batchroute.quality.promise import Choice, kept_by_share, quality_threshold
from batchroute.quality.shares import SHARES, JobScores
from outcomes import SCORES, TABLES, made, resample, simple, stratified, with_replacement


def choose(table: str, scores: str, *, rows: int = 400, quality: float = 0.95, confidence: float = 0.9) -> Choice:
    outcomes, job = made(table, scores)
    drawn = stratified(job, rows, np.random.default_rng(0))
    return quality_threshold(
        job[drawn],
        outcomes.strong[drawn],
        outcomes.weak[drawn],
        quality=quality,
        confidence=confidence,
        job_scores=job,
    )


@pytest.mark.parametrize(
    ("table", "scores", "quality", "verdict"),
    [
        ("equal", "useless", 0.95, "all weak"),
        ("equal", "constant", 0.95, "all weak"),
        ("one in a hundred", "adversarial", 0.9, "all weak"),
        ("better", "good", 0.95, "weak is better"),
        ("knowing", "good", 0.95, "route"),
        ("rare", "two values", 0.95, "route"),
        ("knowing", "constant", 0.95, "all strong"),
        ("knowing", "adversarial", 0.98, "all strong"),
        ("nothing", "useless", 0.95, "all strong"),
    ],
)
def test_the_verdict(table: str, scores: str, quality: float, verdict: str) -> None:
    choice = choose(table, scores, quality=quality)
    _, job = made(table, scores)
    assert choice.verdict == verdict
    assert choice.strong_share == (job >= choice.threshold).mean()
    if verdict == "all strong":
        assert (choice.threshold, choice.strong_share) == (min(0.0, job.min()), 1)
        assert choice.kept == choice.low == choice.high == 1
    elif verdict == "route":
        assert choice.threshold in job
        assert 0 < choice.strong_share < 1
        assert choice.low <= choice.kept <= choice.high
    else:
        assert (choice.threshold, choice.strong_share) == (math.nextafter(job.max(), math.inf), 0)


def test_every_share_has_its_line() -> None:
    choice = choose("knowing", "good")
    outcomes, job = made("knowing", "good")
    assert tuple(each.share for each in choice.tested) == SHARES
    passes = [each.passes for each in choice.tested]
    last = passes.index(False)
    assert passes == [True] * last + [False] + [None] * (len(SHARES) - last - 1)
    assert choice.tested[last - 1].threshold == choice.threshold
    for each in choice.tested:
        routed = np.where(job >= each.threshold, outcomes.strong, outcomes.weak)
        assert each.low <= each.kept <= each.high
        assert each.low <= routed.mean() / outcomes.strong.mean() <= each.high
        assert each.strong_share == pytest.approx(each.share, abs=0.001)


def test_what_lies_behind_the_first_share_that_fails_is_not_chosen() -> None:
    """The weak side fails where the scores are low: from 95 % on, though from 50 % on it would make up for it."""
    random = np.random.default_rng(0)
    job = random.random(5000)
    weak = (job > 0.2).astype(np.float64)
    strong = np.where(job > 0.2, random.random(5000) < 0.5, 1.0)
    drawn = stratified(job, 400, random)
    choice = quality_threshold(job[drawn], strong[drawn], weak[drawn], quality=0.95, job_scores=job)
    assert choice.verdict == "weak is better", "all weak is tested by itself"
    assert [each.passes for each in choice.tested] == [True, False, *[None] * 18, True]
    assert choice.tested[-2].low > 1, "as is plain to see"


@pytest.mark.parametrize("rows", [0, 1, 9])
def test_a_handful_of_rows_shows_nothing_of_a_large_job(rows: int) -> None:
    job = np.random.default_rng(0).random(5000)
    grades = np.random.default_rng(1).random(rows)
    choice = quality_threshold(job[:rows], grades, grades * 0.5, quality=0.95, job_scores=job)
    assert (choice.verdict, choice.threshold, choice.strong_share) == ("all strong", 0.0, 1.0)


@pytest.mark.parametrize("rows", [1, 9, 60])
def test_a_job_that_was_asked_whole_has_the_share_that_its_grades_say(rows: int) -> None:
    random = np.random.default_rng(rows)
    job = random.permutation(rows) / rows
    strong, weak = random.random(rows), random.random(rows)
    choice = quality_threshold(job, strong, weak, quality=0.9, job_scores=job)
    kept = [np.where(job >= each.threshold, strong, weak).mean() / strong.mean() for each in choice.tested]
    assert [each.kept for each in choice.tested] == pytest.approx(kept)
    assert [each.low for each in choice.tested] == pytest.approx(kept)
    for each, true in zip(choice.tested, kept, strict=True):
        assert each.passes in (true >= 0.9, None)
    assert kept[[each.threshold for each in choice.tested].index(choice.threshold)] >= 0.9


@pytest.mark.parametrize(
    ("strong", "weak", "words"),
    [
        ([0.5, 1.5], [0.1, 0.1], "strong has grades outside"),
        ([0.5, 0.5], [0.1, -0.1], "weak has grades outside"),
        ([0.5, math.nan], [0.1, 0.1], "strong has values that are no numbers"),
        ([0.5, 0.5], [0.1, math.inf], "weak has values that are no numbers"),
        ([0.5], [0.1, 0.1], "of one length"),
        ([[0.5, 0.5]], [[0.1, 0.1]], "of one length"),
    ],
)
def test_grades_that_are_none_are_refused(strong: list[float], weak: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        quality_threshold(np.array([0.1, 0.2]), np.array(strong), np.array(weak), quality=0.95)


@pytest.mark.parametrize(("quality", "confidence"), [(0, 0.9), (1.01, 0.9), (0.9, 0), (0.9, 1), (math.nan, 0.9)])
def test_targets_that_are_no_parts_are_refused(quality: float, confidence: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        quality_threshold(np.ones(2), np.ones(2), np.ones(2), quality=quality, confidence=confidence)


def test_targets_at_their_borders() -> None:
    assert choose("equal", "good", quality=1).verdict == "all strong", "no sample shows that nothing is lost"
    assert choose("better", "good", quality=1).verdict == "weak is better"
    assert choose("equal", "good", quality=0.01).verdict == "all weak"
    shares = [choose("knowing", "good", confidence=confidence).strong_share for confidence in (0.5, 0.9, 0.999999)]
    assert shares[0] <= shares[1] < shares[2]


@settings(max_examples=8)
@given(st.sampled_from(list(TABLES)), st.sampled_from(list(SCORES)), st.booleans(), st.integers(0, 9))
def test_the_order_of_rows_says_nothing(table: str, scores: str, known: bool, seed: int) -> None:
    outcomes, job = made(table, scores)
    random = np.random.default_rng(seed)
    drawn = simple(job, 120, random)
    choices = [
        quality_threshold(
            job[rows],
            outcomes.strong[rows],
            outcomes.weak[rows],
            quality=0.9,
            job_scores=random.permutation(job) if known else None,
        )
        for rows in (drawn, drawn[np.argsort(job[drawn])])
    ]
    assert str(choices[0]) == str(choices[1])


@settings(max_examples=4)
@given(st.sampled_from(list(TABLES)), st.sampled_from(list(SCORES)), st.integers(0, 9))
def test_more_confidence_and_more_quality_save_no_more(table: str, scores: str, seed: int) -> None:
    outcomes, job = made(table, scores)
    drawn = simple(job, 200, np.random.default_rng(seed))
    sample = job[drawn], outcomes.strong[drawn], outcomes.weak[drawn]
    by_confidence = [quality_threshold(*sample, quality=0.95, confidence=c, job_scores=job) for c in (0.6, 0.95)]
    by_quality = [quality_threshold(*sample, quality=q, job_scores=job) for q in (0.9, 0.98)]
    assert by_confidence[0].strong_share <= by_confidence[1].strong_share
    assert by_quality[0].strong_share <= by_quality[1].strong_share
    for less, more in zip(by_confidence[0].tested, by_confidence[1].tested, strict=True):
        assert not more.low > less.low
        assert not more.high < less.high


def test_thresholds_may_come_without_the_scores() -> None:
    outcomes, job = made("knowing", "good")
    job = (job - job.min()) / np.ptp(job)
    drawn = stratified(job, 400, np.random.default_rng(0))
    sample = job[drawn], outcomes.strong[drawn], outcomes.weak[drawn]
    known = quality_threshold(*sample, quality=0.95, job_scores=job)
    assert quality_threshold(*sample, quality=0.95, job_scores=JobScores.read([job[:70], job[70:]])) == known
    with_gaps = np.concatenate((job, np.full(9, np.nan)))
    assert quality_threshold(*sample, quality=0.95, job_scores=with_gaps) == known


def test_plain_lists_will_do() -> None:
    scores, strong, weak = [0.1, 0.5, 0.9], [True, True, False], [1, 0, 0]
    lists = quality_threshold(scores, strong, weak, quality=0.9, job_scores=scores, look=[0, 0, 1], looks=2)  # type: ignore[arg-type]
    columns = [np.array(column, np.float64) for column in (scores, strong, weak)]
    assert lists == quality_threshold(
        *columns, quality=0.9, job_scores=columns[0], look=np.array([0, 0, 1]), looks=2
    )


def test_rows_that_are_drawn_twice_are_no_proof_of_the_rest() -> None:
    """900 draws with replacement from 1,000 rows have seen 600 of them, not 900."""
    outcomes, job = made("knowing", "good")
    rows = np.random.default_rng(0).integers(0, 1000, 900)
    sample = job[rows], outcomes.strong[rows], outcomes.weak[rows]
    doubtful = quality_threshold(*sample, quality=0.95, job_scores=job[:1000])
    endless = quality_threshold(*sample, quality=0.95, job_scores=np.tile(job[:1000], 100))
    assert doubtful.tested[10].high - doubtful.tested[10].low > 0.9 * (
        endless.tested[10].high - endless.tested[10].low
    )


def test_rows_of_another_job_are_no_part_of_this_one() -> None:
    """400 of 450 rows show what a job keeps, but of the next job's 450 they are just 400 of very many."""
    random = np.random.default_rng(0)
    job, strong = random.random(450), np.ones(450)
    weak = (random.permutation(450) >= 20).astype(np.float64)  # keeps 95.6 %
    sample = job[:400], strong[:400], weak[:400]
    shares = JobScores.of(job)
    widths = []
    for scores in (shares, replace(shares, is_sampled=False), np.tile(job, 1000)):
        all_weak = quality_threshold(*sample, quality=0.95, job_scores=scores).tested[-1]
        widths.append(all_weak.high - all_weak.low)
    asked, other, endless = widths
    assert asked < 0.6 * other
    assert other == pytest.approx(endless, abs=0.001)


@pytest.mark.parametrize("job", [[], [math.nan, math.nan], [[0.1, 0.2]]])
def test_a_job_without_its_scores_is_refused(job: list[float]) -> None:
    with pytest.raises(ValueError, match="scores"):
        quality_threshold([0.1, 0.2], [1, 1], [1, 1], quality=0.95, job_scores=job)  # type: ignore[arg-type]


def test_how_many_rows_are_needed() -> None:
    few, many = (choose("knowing", "weakly good", rows=rows, quality=0.98) for rows in (60, 800))
    assert few.verdict == "all strong"
    assert few.rows_needed is not None
    assert few.rows_needed > 60
    assert many.verdict == "route"
    assert choose("knowing", "adversarial", quality=0.999).rows_needed is None
    assert choose("knowing", "constant").rows_needed is None, "the weak side alone does not keep it"


def test_looks_at_a_growing_sample() -> None:
    outcomes, job = made("one in a hundred", "useless")
    drawn = stratified(job, 400, np.random.default_rng(0))
    drawn = np.random.default_rng(1).permutation(drawn)
    look = np.repeat([0, 1], 200)
    sample = job[drawn], outcomes.strong[drawn], outcomes.weak[drawn]
    first = quality_threshold(
        *(each[:200] for each in sample), quality=0.95, job_scores=job, look=look[:200], looks=4
    )
    both = quality_threshold(*sample, quality=0.95, job_scores=job, look=look, looks=4)
    assert both.strong_share <= first.strong_share, "what an earlier look has shown stays shown"
    assert both.verdict == "all weak"
    assert both.is_settled(2000)
    for wrong in (look[:5], look + 3, look - 1):
        with pytest.raises(ValueError, match="number of a look"):
            quality_threshold(*sample, quality=0.95, job_scores=job, look=wrong, looks=4)


def test_a_sample_is_settled_where_more_rows_would_not_help() -> None:
    choice = choose("rare", "useless")
    assert not choice.is_settled(2500)
    assert choice.is_settled(400)
    hopeless = [replace(each, rows_needed=None) for each in choice.tested]
    assert replace(choice, tested=tuple(hopeless)).is_settled(100_000)


def test_what_any_score_keeps() -> None:
    outcomes, job = made("knowing", "good")
    drawn = simple(job, 300, np.random.default_rng(0))
    curve = kept_by_share(job[drawn], outcomes.strong[drawn], outcomes.weak[drawn])
    assert [each.share for each in curve] == list(SHARES)
    assert {each.passes for each in curve} == {None}
    assert curve[0].kept == 1
    assert curve[-1].kept == pytest.approx(outcomes.weak[drawn].mean() / outcomes.strong[drawn].mean())
    assert all(each.low <= each.kept <= each.high for each in curve)


def test_the_python_face_has_it() -> None:
    assert br.quality_threshold is quality_threshold
    assert br.Choice is Choice


QUICK = [
    ("border", "useless", 0.95, 200, stratified),
    ("separate", "good", 0.95, 200, simple),
    ("rare", "weakly good", 0.95, 400, stratified),
    ("points", "five values", 0.95, 200, with_replacement),
]


@pytest.mark.parametrize(("table", "scores", "quality", "rows", "draw"), QUICK)
def test_the_promise_is_seldom_broken(table, scores, quality, rows, draw) -> None:  # type: ignore[no-untyped-def]
    """Of 60 jobs at confidence .9: 6, and what chance adds to that."""
    outcomes, job = made(table, scores)
    found = resample(outcomes, job, quality=quality, rows=rows, jobs=60, draw=draw)
    assert found.broken <= 0.1 + 2 * math.sqrt(0.1 * 0.9 / 60)
    assert found.saved <= found.best


def test_a_choice_by_estimates_breaks_it() -> None:
    outcomes, job = made("border", "useless")
    found = resample(outcomes, job, quality=0.95, rows=200, jobs=40)
    assert found.plug_in_broken > 0.25


HARD = ("border", "separate", "points")
PROVED = dict.fromkeys(
    (
        *itertools.product(TABLES, SCORES, (0.95,), (400,), (0.9,)),
        *itertools.product(HARD, ("good", "useless", "adversarial"), (0.9, 0.95, 0.98), (200, 400, 800), (0.9,)),
        *itertools.product(HARD, ("good", "useless"), (0.95,), (400,), (0.8, 0.95)),
    )
)


@pytest.mark.proof
@pytest.mark.timeout(0)
@pytest.mark.parametrize(("table", "scores", "quality", "rows", "confidence"), PROVED)
def test_the_promise_holds(table: str, scores: str, quality: float, rows: int, confidence: float) -> None:
    outcomes, job = made(table, scores)
    found = resample(outcomes, job, quality=quality, rows=rows, confidence=confidence)
    assert found.broken <= 1 - confidence + 0.02


@pytest.mark.proof
@pytest.mark.timeout(0)
@pytest.mark.parametrize("draw", [simple, with_replacement])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("scores", ["good", "useless", "length", "five values"])
def test_the_promise_holds_for_other_samples(draw, known: bool, scores: str) -> None:  # type: ignore[no-untyped-def]
    for table in HARD:
        outcomes, job = made(table, scores)
        found = resample(outcomes, job, quality=0.95, rows=400, draw=draw, known_job=known)
        assert found.broken <= 0.12


@pytest.mark.proof
@pytest.mark.timeout(0)
@pytest.mark.parametrize("scores", ["useless", "good", "constant", "two values"])
@pytest.mark.parametrize("rows", [200, 400, 800])
def test_a_weak_side_that_clearly_does_is_taken(scores: str, rows: int) -> None:
    """Above the target by three points and by 3.5 standard errors of the pilot."""
    random = np.random.default_rng(7)
    outcomes, _ = made("separate", "useless")
    kept, chance = 0.95 * outcomes.strong.mean(), 0.9
    for _ in range(9):
        error = math.sqrt((chance * (1 - chance) + 0.95**2 * outcomes.strong.var()) / rows)
        chance = kept + max(0.03, 3.5 * error)
    weak = (random.permutation(len(outcomes.weak)) < chance * len(outcomes.weak)).astype(np.float64)
    table = replace(outcomes, weak=weak)
    found = resample(table, SCORES[scores](random, table), quality=0.95, rows=rows)
    assert found.all_weak >= 0.8


@pytest.mark.proof
@pytest.mark.timeout(0)
def test_more_rows_save_more() -> None:
    for table, scores in (("knowing", "good"), ("rare", "useless"), ("points", "weakly good")):
        outcomes, job = made(table, scores)
        saved = [resample(outcomes, job, quality=0.95, rows=rows, jobs=300).saved for rows in (100, 200, 400, 800)]
        assert saved == sorted(saved)
