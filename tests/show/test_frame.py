"""A run at work as it is drawn: what stands there in each state, and that it always fits."""

from __future__ import annotations

import io
import re
from datetime import datetime
from typing import TYPE_CHECKING, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from batchroute.run.progress import LaneProgress, Money, Progress
from batchroute.show.frame import Screen, frame_with_hint
from batchroute.show.run_words import money_words
from batchroute.show.speed import LaneSpeed, Speed
from batchroute.types import Doing, LaneState, PilotProgress, PilotStage
from progresses import AWAY, at_its_pilot, at_work

if TYPE_CHECKING:
    from collections.abc import Mapping

NOON = datetime(2026, 11, 28, 12, 0, 0).astimezone()
WIDTHS = (80, 120)


def speed_of(progress: Progress, eta_s: float | None = 2542.0) -> Speed:
    lane = LaneSpeed(12.34, 150_000.0, 180_500, 2_950)
    return Speed(dict.fromkeys(progress.lanes, lane), 12.34 * len(progress.lanes), 3400.0, eta_s)


def drawn(progress: Progress, width: int, height: int = 40, eta_s: float | None = 2542.0) -> list[str]:
    """The lines as a terminal of that size shows them."""
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=True, record=True)
    console.print(frame_with_hint(progress, speed_of(progress, eta_s), Screen(width, height), NOON))
    return [line.rstrip() for line in console.export_text().splitlines()]


def in_one(lines: list[str]) -> str:
    """As if no line had been broken."""
    return re.sub(r"\s+", " ", " ".join(lines))


@pytest.mark.parametrize("width", WIDTHS)
def test_all_that_a_run_does_stands_there(width: int) -> None:
    lines = drawn(at_work(), width)
    assert all(cell_len(line) <= width for line in lines)
    shown = in_one(lines)
    for words in (
        "0:12:41, about 0:42:22 left, 5,000 done before",
        "60 % 15,000 of 25,000 rows 24.7 rows/s",
        "$9.31 of 100.00, $0.2000 unconfirmed, saved about $20.1000 (68.3 %) against all strong",
        "40 % 800 of 2,000 12.3 rows/s",
        "sending, 64 in flight, 180,500 of 200,000 tokens/min",
        "last error: HTTP 500: the server is overloaded, try again later",
        "51 % 9,200 of 18,000 12.3 rows/s",
        "sending, 128 in flight, 150,000 tokens/min, 2,950 of 3,000 requests/min",
        "3 refused, 7 failed, timeout 12, http_500 3",
    ):
        assert words in shown
    assert lines[-2:] == ["Ctrl-C stops in order", ""]


STATES: Mapping[LaneState, str] = {
    LaneState("sending"): "sending",
    LaneState("rate_limited", next_try_s=4.2): "paused by 429, 4 s",
    LaneState("paced"): "waits for its rate",
    LaneState("tier_full"): "its service tier is full",
    AWAY: "away: connection refused (127.0.0.1:7999), next try in 8 s, gives up at 12:30",
    LaneState("no_money"): "no money for the next row",
    LaneState("retrying"): "waits to ask rows again",
    LaneState("waiting"): "waits for rows",
    LaneState("done"): "done",
    LaneState("stopped", "key rejected"): "stopped: key rejected",
}


def test_the_states_below_are_all_there_are() -> None:
    assert {state.doing for state in STATES} == set(get_args(Doing))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("state", "words"), STATES.items(), ids=lambda value: getattr(value, "doing", ""))
def test_each_state_of_a_lane_is_said(width: int, state: LaneState, words: str) -> None:
    assert words in in_one(drawn(at_work(weak=state), width))


def test_while_an_endpoint_is_away_nobody_knows_how_long_it_takes() -> None:
    lines = drawn(at_work(strong=AWAY), 80, eta_s=None)
    assert "time left unknown while strong is away" in lines[0]
    assert "last error" not in in_one(lines)  # the state says it


@pytest.mark.parametrize("width", WIDTHS)
def test_scoring_shows_no_bar_before_its_end_is_known(width: int) -> None:
    progress = at_work()
    progress.rows, progress.scored = None, lambda: 12_345
    for lane in progress.lanes.values():
        lane.rows = None
    lines = drawn(progress, width, eta_s=None)
    assert "scoring" in lines[0]
    assert "12,345 rows scored" in in_one(lines)
    assert "━" not in in_one(lines)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_run_that_stops_counts_down_what_is_in_flight(width: int) -> None:
    progress = at_work()
    progress.stops_in_s = lambda: 12.3
    lines = drawn(progress, width)
    assert "stopping: 192 answers in flight, 13 s left" in lines[0]
    assert lines[-2:] == ["Ctrl-C again leaves them", ""]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    ("pilot", "stage", "bar"),
    [
        (PilotProgress("asking", 312, 800), "the pilot asks both sides", "pilot ━*─* 39 % 312 of 800 answers"),
        (PilotProgress("judging", 57, 800), "the pilot's answers are judged", "pilot ━*─* 7 % 57 of 800 verdicts"),
        (PilotProgress("deciding"), "the pilot finds the share that goes strong", "pilot deciding"),
    ],
)
def test_a_pilot_has_a_bar_of_its_own_and_a_judge_counts_no_rows(
    width: int, pilot: PilotProgress, stage: str, bar: str
) -> None:
    shown = in_one(drawn(at_its_pilot(pilot), width, eta_s=None))
    assert f"0:00:00, {stage} all" in shown
    assert re.search(bar.replace("*", "* ?"), shown)
    assert "0 % 0 of 50,000 rows pilot" in re.sub(" [━─]+", "", shown)  # no speed, which would be none
    assert "57 of 800 12.3 verdicts/s" in shown


def test_a_simulated_run_says_so_first() -> None:
    progress = at_work()
    progress.simulated = True
    assert drawn(progress, 80)[0].startswith("SIMULATED, ")


def test_all_done_is_a_whole_bar_and_not_before() -> None:
    progress = Progress(rows=1000, lanes={"strong": LaneProgress(rows=1000, ok=999)})
    assert " 99 %" in drawn(progress, 80)[1]
    progress.lanes["strong"].ok = 1000
    assert re.fullmatch(r"all +━+  100 %  1,000 of 1,000 rows   12\.3 rows/s", drawn(progress, 80)[1])


def test_what_grows_moves_nothing() -> None:
    """Bars as long as before and figures in their columns, from the first row to the last."""
    lane = LaneProgress(rows=18_000)
    progress = Progress(rows=18_000, lanes={"weak": lane})
    places = set()
    for done in (0, 9, 10, 999, 1_000, 17_999, 18_000):
        lane.ok = done
        places |= {bar.span() for line in drawn(progress, 80) for bar in re.finditer("[━─]+", line)}
    assert len(places) == 1


@pytest.mark.parametrize(
    ("money", "words"),
    [
        (Money(None), ["cost unknown"]),
        (Money(0.5), ["$0.5000"]),
        (Money(0.5, all_strong_usd=0.0), ["$0.5000"]),
        (Money(0.5, all_strong_usd=2.0), ["$0.5000", "saved about $1.5000 (75.0 %) against all strong"]),
        (Money(2.5, all_strong_usd=2.0), ["$2.5000", "about $0.5000 more than all strong"]),
    ],
)
def test_money_without_a_limit(money: Money, words: list[str]) -> None:
    assert list(money_words(Progress(money=lambda: money))) == words


def test_an_error_is_no_markup_and_steers_no_terminal() -> None:
    progress = at_work()
    progress.errors["[/red]\x1b[2J"] = 30
    progress.lanes["strong"].last_error = "[bold]\x1b]0;owned\x07\nsecond line"
    shown = in_one(drawn(progress, 120))
    assert "[/red]\N{REPLACEMENT CHARACTER}[2J 30" in shown
    assert "last error: [bold]\N{REPLACEMENT CHARACTER}]0;owned" in shown
    assert "\x1b" not in shown


def test_a_long_error_ends_with_a_whole_word() -> None:
    progress = at_work()
    progress.lanes["strong"].last_error = "HTTP 429: " + "overloaded " * 30
    (error,) = re.findall("last error: (.*?) …", in_one(drawn(progress, 80)))
    assert {*error.split()[2:]} == {"overloaded"}
    progress.lanes["strong"].last_error = "x" * 1000
    assert len(drawn(progress, 80)) < 16


@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_terminal_of_ascii_alone_gets_nothing_else(ascii_only: bool) -> None:
    progress = at_work()
    text = frame_with_hint(progress, speed_of(progress), Screen(80, 24, ascii_only), NOON).plain
    assert text.isascii() == ascii_only


texts = st.text(max_size=90)
doings = st.sampled_from([*(state.doing for state in STATES), "sending"])
counts = st.integers(0, 10**8)
pilots = st.builds(
    lambda stage, done, left: PilotProgress(stage, done, done + left),
    st.sampled_from(get_args(PilotStage)),
    counts,
    counts,
)


@given(
    width=st.integers(1, 130),
    height=st.integers(2, 40),
    names=st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=3, unique=True),
    state=st.builds(LaneState, doings, texts, st.none() | st.floats(0, 1e5), st.none() | st.floats(0, 1e5)),
    error=st.none() | texts,
    done=counts,
    left=st.none() | counts,
    pilot=st.none() | pilots,
)
def test_it_fits_whatever_it_says(
    width: int,
    height: int,
    names: list[str],
    state: LaneState,
    error: str | None,
    done: int,
    left: int | None,
    pilot: PilotProgress | None,
) -> None:
    """No line is wider than the terminal, the last is empty, and one line stays free."""
    rows = None if left is None else done + left
    lanes = {name: LaneProgress(ok=done, rows=rows, state=lambda: state, last_error=error) for name in names}
    lanes["judge"] = LaneProgress(ok=done, rows=rows, is_beside=True)
    whole = None if rows is None else rows * len(names)
    progress = Progress(rows=whole, lanes=lanes, pilot=lambda: pilot)
    progress.errors.update({str(error): 5})
    lines = frame_with_hint(progress, speed_of(progress), Screen(width, height), NOON).plain.split("\n")
    assert len(lines) < max(height, 4)
    assert all(cell_len(line) <= max(width, 2) for line in lines)
    assert lines[-1] == ""


words_of_error = st.lists(st.text("abcdefghij", min_size=1, max_size=20), max_size=8).map(" ".join)


@given(width=st.integers(45, 130), error=words_of_error)
def test_no_word_is_broken(width: int, error: str) -> None:
    progress = at_work(strong=LaneState("stopped", error), weak=AWAY)

    def words(columns: int) -> set[str]:
        drawn = frame_with_hint(progress, speed_of(progress), Screen(columns, 40), NOON).plain.split()
        return {word.rstrip(",") for word in drawn if not re.fullmatch("[━─]+", word)}

    assert words(width) == words(1000)
