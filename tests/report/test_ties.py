"""Ties at the threshold: what is said where they send clearly more rows strong than were asked for."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.quality.ranks import threshold_for_share
from batchroute.report.ties import Tie, tie_at
from inputs import lines
from jobs import simulated, write_job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Said

    Command = Callable[..., Said]

TIED = [0.9, 0.5, 0.5, 0.5, 0.1]


@pytest.mark.parametrize(
    ("scores", "threshold", "share", "rows"),
    [
        (TIED, 0.5, 0.4, 3),  # two are asked for, four go strong
        (TIED, 0.5, 0.8, None),  # four are asked for
        (TIED, 0.9, 0.2, None),
        (TIED, math.nextafter(0.9, 1), 0.0, None),
        ([0.5] * 5, 0.5, 0.2, 5),
        ([0.5] * 5, 0.5, 1.0, None),
        ([0.5] * 11 + [0.1] * 9, 0.5, 0.5, None),  # ten are asked for: eleven are a tenth more, and no surprise
        ([0.5] * 12 + [0.1] * 8, 0.5, 0.5, 12),
        ([0.5, math.nan, 0.5, math.nan], 0.5, 0.5, 2),
        (TIED, 0.1, 0.4, None),  # not the threshold of this share: of other rows
        (TIED, 0.7, 0.4, None),
        ([], math.inf, 0.4, None),
        (TIED, None, 0.4, None),
        (TIED, 0.5, None, None),
    ],
)
def test_is_noticed_above_a_tenth_of_what_was_asked_for(
    scores: list[float], threshold: float | None, share: float | None, rows: int | None
) -> None:
    tie = tie_at([np.array(scores[:2]), np.array(scores[2:])], threshold, share)
    assert (None if tie is None else tie.rows) == rows


@given(st.lists(st.sampled_from([0.0, -0.0, 0.2, 0.5, 1.0, math.nan]), max_size=60), st.floats(0, 1))
def test_the_share_it_names_leaves_the_tied_rows_weak(scores: list[float], share: float) -> None:
    parts = [np.array(scores)]
    threshold, reached = threshold_for_share(parts, share)
    tie = tie_at(parts, threshold, share)
    rated = int(np.count_nonzero(~np.isnan(parts[0])))
    asked = math.floor(share * rated + 0.5)
    assert (tie is not None) == (reached > 1.1 * asked)
    if tie is not None:
        assert tie.strong_fraction == reached / rated
        named = re.search(r"routing\.strong_fraction = ([\d.e-]+) would", tie.words)
        assert named is not None
        lower, reached = threshold_for_share(parts, float(named[1]))
        assert lower > threshold
        assert reached <= round(tie.without_fraction * rated)


def test_the_sentence_has_the_shares_and_what_to_do() -> None:
    tie = tie_at([np.array(TIED)], 0.5, 0.4)
    assert tie == Tie(threshold=0.5, rows=3, asked_fraction=0.4, strong_fraction=0.8, without_fraction=0.2)
    assert tie.words == (
        "3 rows tie at the threshold 0.50000, and ties all go strong: 80.0 % of the rows instead of the 40.0 % "
        "asked for (routing.strong_fraction = 0.2 would leave them weak)"
    )


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """One row in ten is long, all others are of one length: to ask for a fifth is to get all."""
    prompts = [f"What is {row % 9} * {row % 7}?" if row % 10 else f"{row:3} " + "why? " * 99 for row in range(50)]
    lines(tmp_path / "prompts.jsonl", *({"prompt": prompt} for prompt in prompts))
    return write_job(tmp_path, {"routing": {"strong_fraction": 0.2}, **simulated(latency_s=0.0)})


WORDS = "45 rows tie at the threshold"
SHARES = "100.0 % of the rows instead of the 20.0 % asked for (routing.strong_fraction = 0.1 would"


def test_show_plan_run_and_report_say_it(job: Path, batchroute: Command) -> None:
    def said(*arguments: object) -> str:
        told = batchroute(*arguments)
        assert told.code == 0
        return " ".join(f"{told.out} {told.err}".split())

    planned, shown = said("plan", job), said("show", job)
    ran, resumed = batchroute("run", job), said("run", job)
    reported = said("report", job.parent / "run")
    page = job.parent / "page.html"
    assert batchroute("report", job.parent / "run", "--html", page).code == 0
    for text in (planned, shown, " ".join(ran.err.split()), resumed, reported, page.read_text()):
        assert WORDS in text
        assert SHARES in text


def test_the_json_of_a_plan_leaves_the_words_to_stderr(job: Path, batchroute: Command) -> None:
    planned = batchroute("plan", job, "--json")
    assert json.loads(planned.out)["strong_rows"] == 50
    assert SHARES in planned.err


def test_the_share_it_names_is_what_then_goes_strong(job: Path, batchroute: Command) -> None:
    planned = batchroute("plan", job, "--set", "routing.strong_fraction=0.1", "--json")
    assert WORDS not in planned.err
    assert json.loads(planned.out)["strong_rows"] == 5


def test_a_plan_shows_what_other_shares_come_to(job: Path, batchroute: Command) -> None:
    shares = re.findall(r"^(\d+\.\d) % +(\d+\.\d) % +\d\.", batchroute("plan", job).out, re.MULTILINE)
    assert [float(asked) for asked, _ in shares] == [0, 5, 10, 20, 30, 50, 100]
    assert [float(sent) for _, sent in shares] == [0, 10, 10, 100, 100, 100, 100]


def test_nothing_is_said_of_a_threshold_of_ones_own(job: Path, batchroute: Command) -> None:
    text = job.read_text().replace("strong_fraction = 0.2", "threshold = 0.01")
    job.write_text(text)
    planned, ran = batchroute("plan", job), batchroute("run", job)
    assert "tie at" not in planned.out + planned.err + ran.out + ran.err
