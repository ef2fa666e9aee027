"""What a pilot found, in words: a sentence for every verdict, and nothing in it that is not known."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.report.quality import Quality, Watch
from batchroute.show.quality import cost_share_words, details_of, interval_words, sentence_of, watch_words
from batchroute.show.words import exact_percent
from qualities import ALL_STRONG, EACH, ROUTE, UNPRICED, quality_of

SENTENCES = {
    "route": (
        "Routing keeps 96.1 % (at least 95 % with 90 % confidence) of gpt-6.1-sol's quality at 38 % of its cost, "
        "the pilot's $1.20 included."
    ),
    "all weak": (
        "gpt-6-luna alone keeps 97.2 % (at least 95 % with 90 % confidence) of gpt-6.1-sol's quality at 12 % of "
        "its cost, the pilot's $1.20 included: all rows go weak."
    ),
    "all strong": (
        "Nothing below 100 % strong is shown to keep 95 % of gpt-6.1-sol's quality with 90 % confidence, so it "
        "takes all rows strong."
    ),
    "weak is better": (
        "gpt-6-luna is better than gpt-6.1-sol on these prompts: alone it keeps 103.1 % (at least 95 % with 90 % "
        "confidence) of gpt-6.1-sol's quality at 12 % of its cost, the pilot's $1.20 included."
    ),
    "measured": (
        "Measured on 384 rows, 35.0 % strong keeps about 96.1 % of gpt-6.1-sol's quality at 38 % of its cost, the "
        "pilot's $1.20 included; no quality target is set."
    ),
    "unfinished": "The pilot is not at its end: run the job again to go on.",
    "unpriced": "Routing keeps 96.1 % (at least 95 % with 90 % confidence) of gpt-6.1-sol's quality.",
    "nothing graded": "No row of the pilot could be graded and nothing is shown, so it takes all rows strong.",
    "strong never right": (
        "gpt-6-luna alone keeps at least 95 % (with 90 % confidence) of gpt-6.1-sol's quality at 38 % of its "
        "cost, the pilot's $1.20 included: all rows go weak."
    ),
    "one row": (
        "Nothing below 100 % strong is shown to keep 95 % of gpt-6.1-sol's quality with 90 % confidence, so it "
        "takes all rows strong."
    ),
}


def test_each_verdict_has_its_sentence() -> None:
    assert {name: sentence_of(EACH[name]) for name in SENTENCES} == SENTENCES


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": 0.975, "confidence": 0.99}, "(at least 97.5 % with 99 % confidence)"),
        ({"cost_share": 0.0423}, "at 4.2 % of its cost, the pilot's $1.20 included."),
        ({"cost_share": 1.034}, "at 103 % of its cost, "),
        ({"pilot_cost_usd": 0.0413}, "the pilot's $0.0413 included."),
        ({"pilot_cost_usd": 0.0}, "at 38 % of its cost, the pilot included."),
        ({"pilot_cost_usd": None}, "at 38 % of its cost, the pilot included."),
        ({"cost_share": None}, "of gpt-6.1-sol's quality."),
        ({"strong_model": None}, "of the strong side's quality at"),
        ({"strong_model": "[bold]\x1b[2J"}, "of [bold]\N{REPLACEMENT CHARACTER}[2J's quality at"),
    ],
)
def test_the_sentence_says_what_is_known_and_nothing_else(changes: dict[str, object], words: str) -> None:
    assert words in sentence_of(quality_of(**changes))


DETAILS = {
    "route": [
        "35.0 % of the rows go strong, by the job's router; kept is estimated as 96.1 % (93.8 to 98.4 %)",
        "384 of 400 rows graded against the right answers; mean grades: strong 0.871, weak 0.784",
        "16 rows left out: 12 answered by neither side, 4 without a verdict that could be read",
    ],
    "all strong": [
        (
            "at 95.0 % strong the estimate is 98.5 % (97.6 to 99.4 %); about 1,600 rows would show it, "
            "384 were graded"
        ),
        "the pilot's $1.20 comes on top of all strong",
    ],
    "all weak": ["kept is estimated as 97.2 % (95.1 to 99.3 %)"],
    "one row": [
        "at 95.0 % strong the estimate is 100.0 % (from 0.0 %); how many rows would show it is not in sight",
        "1 of 1 row graded against the right answers; mean grades: strong 0.871, weak 0.784",
    ],
    "strong never right": [
        (
            "gpt-6.1-sol's mean grade is 0, so there is nothing to keep: look at the judge, and at what it holds "
            "the answers against"
        )
    ],
    "nothing graded": [
        "0 of 400 rows graded against the right answers",
        "400 rows left out: 400 answered by neither side",
    ],
    "own router": [
        (
            "35.0 % of the rows go strong, by the router fitted on the pilot; kept is estimated as 96.1 % "
            "(93.8 to 98.4 %)"
        )
    ],
}


@pytest.mark.parametrize(("name", "lines"), DETAILS.items(), ids=DETAILS)
def test_what_it_rests_on(name: str, lines: list[str]) -> None:
    said = list(details_of(EACH[name]))
    assert [line for line in said if line in lines] == lines


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"judge": "pairwise", "judge_model": "gpt-6.1-sol", "order_agreement": 0.871},
            "the judge said the same in both orders on 87.1 % of the rows",
        ),
        ({"judge": "rubric", "judge_model": "m"}, "384 of 400 rows graded by a judge's points, m; "),
        ({"judge": "check"}, "384 of 400 rows graded by the job's [check]; "),
        ({"judge": "mine.judges:Careful"}, "384 of 400 rows graded by mine.judges:Careful; "),
        ({"left_out": {"lost": 1}}, "1 row left out: 1 lost"),
        ({"reused": "runs/2026-11-27", "asked": 0}, "384 rows graded against the right answers; mean grades: "),
        ({"reused": "runs/2026-11-27"}, "the pilot of runs/2026-11-27 was taken over, as it still fits"),
        ({"why_new": "the scores have drifted"}, "a new pilot, as the scores have drifted"),
        ({"router": "length"}, "35.0 % of the rows go strong, by prompt length; "),
    ],
)
def test_the_judge_and_where_the_pilot_comes_from(changes: dict[str, object], line: str) -> None:
    assert any(said.startswith(line) for said in details_of(quality_of(**changes)))


def test_the_watch_of_a_night() -> None:
    assert list(watch_words(EACH["broken"])) == [
        "watched: on 412 rows 92.1 % is kept, at most 94.2 %",
        "watched, strong: on 140 rows 100.0 % (100.0 to 100.0 %)",
        "watched, weak: on 272 rows 88.3 % (85.0 to 91.5 %)",
    ]
    few = Watch(rows=12, kept=None, low=None, high=None)
    assert list(watch_words(quality_of(watch=few))) == ["watched: 12 rows, too few to say what they keep"]
    assert list(watch_words(ROUTE)) == []


def test_a_broken_target_says_what_was_seen_and_what_to_do() -> None:
    assert EACH["broken"].broken_words == (
        "the quality target of 95 % is broken: on 412 watched rows at most 94.2 % of the strong side's quality is "
        "kept; all answers are on file; run the next job with a new pilot, without pilot.reuse"
    )
    assert ROUTE.broken_words is None


def test_an_interval_may_be_open() -> None:
    ends = [(0.941, 0.9799), (None, 0.98), (0.94, None), (None, None)]
    assert [interval_words(*each) for each in ends] == ["94.1 to 98.0 %", "up to 98.0 %", "from 94.0 %", "-"]


@given(st.integers(1, 100_000))
def test_a_share_that_was_set_is_said_as_it_was_set(hundredths: int) -> None:
    """However its double is rounded: 0.07 is 7 %, not 7.000000000000001 %."""
    assert float(exact_percent(hundredths / 100_000).removesuffix(" %")) == hundredths / 1000


shares = st.none() | st.floats(0, 1.5)


@given(
    kept=shares,
    low=shares,
    high=shares,
    cost=shares,
    pilot_usd=st.none() | st.floats(0, 1e4),
    grade=st.none() | st.floats(0, 1),
    verdict=st.sampled_from(["route", "all weak", "all strong", "weak is better", None]),
    target=st.none() | st.just(0.95),
    rows=st.integers(0, 3),
    base=st.sampled_from([ROUTE, ALL_STRONG, UNPRICED]),
)
def test_nothing_unknown_is_a_number_and_no_word_is_left_open(
    kept: float | None,
    low: float | None,
    high: float | None,
    cost: float | None,
    pilot_usd: float | None,
    grade: float | None,
    verdict: str | None,
    target: float | None,
    rows: int,
    base: Quality,
) -> None:
    given_ = {"kept": kept, "low": low, "high": high, "cost_share": cost, "pilot_cost_usd": pilot_usd}
    quality = quality_of(
        **given_, strong_grade=grade, verdict=verdict, target=target, rows=rows, curves=base.curves
    )
    said = [sentence_of(quality), *details_of(quality)]
    assert said[0].endswith(".")
    assert not any(re.search(r"None|nan|unknown|  ", line) for line in said)
    assert ("of its cost" in said[0]) <= (cost is not None)
    if kept is None:
        assert "estimated" not in " ".join(said)


def test_the_cost_of_a_share() -> None:
    assert [cost_share_words(share) for share in (None, 0.0, 0.0412, 0.382, 1.021)] == [
        "-", "0.0 %", "4.1 %", "38 %", "102 %",
    ]  # fmt: skip
