"""What a run says while it is at work: on a real terminal, and in a pipe."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from batchroute.run.progress import LaneProgress
from batchroute.show import progress
from batchroute.show.progress import progress_line
from batchroute.show.speed import LaneSpeed, Speed
from batchroute.types import PilotProgress
from inputs import lines
from jobs import on_both, simulated, write_job
from progresses import AWAY, at_its_pilot, at_work
from terminal import COMMAND, terminal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Said

    Command = Callable[..., Said]

ROWS = 60
FRAME = re.compile(r"in flight|━|─|Ctrl-C")  # what only the display has


@pytest.fixture
def night(tmp_path: Path) -> Callable[..., Path]:
    """A job of two simulated endpoints, which takes as long as `latency_s` makes it."""

    def job(latency_s: float, **changes: Any) -> Path:
        lines(tmp_path / "prompts.jsonl", *({"prompt": f"question {number}"} for number in range(ROWS)))
        return write_job(
            tmp_path,
            {"router.use": "random", "routing": {"strong_fraction": 0.3}},
            {**simulated(latency_s=latency_s), **on_both("max_concurrency", 4)},
            changes,
        )

    return job


def after(text: str, words: str) -> str:
    return text[text.index(words) :]


def test_a_terminal_shows_the_lanes_and_then_only_what_came_of_it(night: Callable[..., Path]) -> None:
    with terminal("run", night(0.2), NO_COLOR="1") as run:
        shown = run.seen(lambda text: "sending, 4 in flight" in text)
        for words in ("SIMULATED, ", "all ", "strong ", "weak ", " rows/s", "Ctrl-C stops in order"):
            assert words in shown
        assert run.screen.cursor_is_shown, "a run that is killed must not leave a terminal without one"
        assert run.ended() == 0, run.screen
    assert not FRAME.search(str(run.screen))
    assert "\x1b" not in after(run.written, "complete; results are in")
    assert not re.search(r"\x1b\[[0-9;]*\b3[0-7]", run.written), "no colour where none is wanted"


def test_ctrl_c_says_its_sentence_above_what_counts_down_and_leaves_no_frame(night: Callable[..., Path]) -> None:
    with terminal("run", night(3.0, **{"limits.drain_s": 60})) as run:
        run.seen(lambda text: "4 in flight" in text)
        run.press(b"\x03")
        shown = run.seen(
            lambda text: re.search(
                r"^SIMULATED, .+, stopping: \d answers in flight, 5. s left$", text, re.MULTILINE
            )
        )
        sentence = "warning: stopping: waiting up to 60 s for 8 answers in flight"
        assert shown.index(sentence) < shown.index("SIMULATED, ")
        assert shown.count("SIMULATED, ") == 1
        assert run.ended() == 130, run.screen
    left = str(run.screen)
    assert left.count(sentence) == 1
    assert not FRAME.search(after(left, "again to go on"))
    assert not FRAME.search(left[: left.index(sentence)])


def test_a_second_ctrl_c_waits_for_nothing(night: Callable[..., Path]) -> None:
    with terminal("run", night(600.0, **{"limits.drain_s": 600})) as run:
        run.seen(lambda text: "4 in flight" in text)
        run.press(b"\x03")
        run.seen(lambda text: "Ctrl-C again leaves them" in text)
        run.press(b"\x03")
        assert run.ended() == 130, run.screen
    assert "Ctrl-C again" not in str(run.screen)


def test_sigterm_ends_it_as_cleanly(night: Callable[..., Path]) -> None:
    with terminal("run", night(2.0)) as run:
        run.seen(lambda text: "4 in flight" in text)
        run.process.send_signal(signal.SIGTERM)
        assert run.ended() == 143, run.screen
    assert not FRAME.search(after(str(run.screen), "again to go on"))


ROUTER = """
import sys
import warnings

import numpy as np


class Chatty:
    def score(self, prompts):
        print("a line of a router's own")
        print("another on stderr", file=sys.stderr)
        warnings.warn("what it warns of")
        if "fault" in sys.argv:
            raise RuntimeError("out of order")
        return np.full(len(prompts), 0.5)
"""


def test_what_others_print_stands_above_the_display(night: Callable[..., Path], tmp_path: Path) -> None:
    job = night(0.2, **{"router.use": "chatty_above:Chatty", "routing": {"threshold": 0.1}})
    (tmp_path / "chatty_above.py").write_text(ROUTER)
    with terminal("run", job) as run:
        assert run.ended() == 0, run.screen
    left = str(run.screen)
    for words in ("a line of a router's own", "another on stderr", "what it warns of"):
        assert words in left
    assert not FRAME.search(left)


def test_a_traceback_stands_where_the_display_was(night: Callable[..., Path], tmp_path: Path) -> None:
    job = night(0.2, **{"router.use": "chatty_fault:Chatty"})
    (tmp_path / "chatty_fault.py").write_text(ROUTER.replace('"fault" in sys.argv', "True"))
    with terminal("run", job) as run:
        assert run.ended() == 1, run.screen
    assert "RuntimeError: out of order" in str(run.screen)
    assert not FRAME.search(str(run.screen))
    assert run.screen.cursor_is_shown


def test_stdout_elsewhere_gets_the_report_alone(night: Callable[..., Path], tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out, terminal("run", night(0.2), "--json", stdout=out.fileno()) as run:
        run.seen(lambda text: "sending, 4 in flight" in text)
        assert run.ended() == 0, run.screen
    assert (tmp_path / "out").read_text().startswith("{")
    assert not FRAME.search(str(run.screen))


def test_stderr_elsewhere_gets_plain_lines_and_the_terminal_the_report(
    night: Callable[..., Path], tmp_path: Path
) -> None:
    with (tmp_path / "err").open("wb") as err, terminal("run", night(0.7), stderr=err.fileno()) as run:
        assert run.ended() == 0, run.screen
    said = (tmp_path / "err").read_text()
    assert "\x1b" not in said
    assert re.search(r"^\d+ of 60 rows \(\d+ %\); strong \d+ of 18", said, re.MULTILINE)
    assert not FRAME.search(str(run.screen))


def test_a_pipe_stays_one_however_much_colour_is_forced_upon_it(night: Callable[..., Path]) -> None:
    environ = {**os.environ, "FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"}
    done = subprocess.run([*COMMAND, "run", str(night(0.05))], capture_output=True, env=environ, check=True)
    assert not FRAME.search(done.stderr.decode())
    assert b"\x1b" not in done.stderr


def test_a_terminal_that_cannot_go_up_gets_lines(night: Callable[..., Path]) -> None:
    with terminal("run", night(0.7), TERM="dumb") as run:
        assert run.ended() == 0, run.screen
    assert "\x1b" not in run.written
    assert re.search(r"^\d+ of 60 rows \(\d+ %\); strong \d+ of 18", str(run.screen), re.MULTILINE)


LINE = re.compile(
    r"(?P<done>\d+) of 60 rows \(\d+ %\); strong \d+ of \d+( \(done\))?, weak \d+ of \d+( \(done\))?; "
    r"\d+\.\d rows/s; \$0\.\d\d of 5\.00.*; (about 0:00:\d\d left|time left not known yet)"
)


def test_plain_lines_say_how_far_the_directory_is(
    night: Callable[..., Path], batchroute: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.1)
    job = night(0.1, routing={"threshold": 0.7}, **on_both("params", {"max_tokens": 20}))
    limit = ("--set", "limits.max_cost_usd=5.0")
    pilot = batchroute("run", job, *limit, "--limit", 20)
    assert pilot.code == 0
    assert "done before" not in pilot.err
    said = batchroute("run", job, *limit).err.splitlines()
    assert "20 rows were done before; the run goes on from there" in said
    found = [line for line in map(LINE.fullmatch, said) if line is not None]
    done = [int(line["done"]) for line in found]
    assert done
    assert min(done) >= 20
    assert done == sorted(done)


@pytest.mark.parametrize("flags", [["--quiet"], ["--quiet", "--log-format", "json"]])
def test_quiet_says_no_lines(
    night: Callable[..., Path], batchroute: Command, monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.1)
    assert "rows/s" not in batchroute("run", night(0.1), *flags).err


def test_while_it_scores_the_lines_count_what_is_scored() -> None:
    scoring = at_work()
    scoring.rows, scoring.done_before, scoring.scored = None, 0, lambda: 12_345
    scoring.lanes = {name: LaneProgress() for name in scoring.lanes}
    scoring.errors.clear()
    speed = Speed({name: LaneSpeed() for name in scoring.lanes}, 0.0, 3400.0, None)
    assert progress_line(scoring, speed, datetime.now().astimezone()) == (
        "12,345 rows scored; strong 0 (waits for rows), weak 0 (waits for rows); 3,400.0 rows/s; "
        "$9.31 of 100.00, $0.2000 unconfirmed, saved about $20.1000 (68.3 %) against all strong; scoring"
    )


def test_a_lane_that_is_away_says_so_in_the_line() -> None:
    away = at_work(strong=AWAY)
    speed = Speed(dict.fromkeys(away.lanes, LaneSpeed(12.34)), 24.68, 0.0, None)
    line = progress_line(away, speed, datetime(2026, 11, 28, 12).astimezone())
    assert line.startswith(
        "15,000 of 25,000 rows (60 %); strong 800 of 2,000 (away: connection refused (127.0.0.1:7999), "
        "next try in 8 s, gives up at 12:30), weak 9,200 of 18,000; 24.7 rows/s; $9.31 of 100.00, "
    )
    assert line.endswith("; time left unknown while strong is away; 3 refused, 7 failed, timeout 12, http_500 3")


@pytest.mark.parametrize(
    ("pilot", "words"),
    [
        (PilotProgress("asking", 312, 800), "pilot: 312 of 800 answers"),
        (PilotProgress("judging", 57, 800), "pilot: 57 of 800 verdicts"),
        (PilotProgress("deciding"), "pilot: deciding"),
    ],
)
def test_while_the_pilot_is_at_work_the_line_says_how_far_it_is(pilot: PilotProgress, words: str) -> None:
    work = at_its_pilot(pilot)
    speed = Speed(dict.fromkeys(work.lanes, LaneSpeed()), 0.0, 0.0, None)
    line = progress_line(work, speed, datetime.now().astimezone())
    assert line == (
        f"{words}; strong 0 (waits for rows), weak 0 (waits for rows), judge 57 of 800 (waits for rows); $0.4100"
    )
    work.stops_in_s = lambda: 12.3
    assert "; stopping: 136 answers in flight, 13 s left" in progress_line(
        work, speed, datetime.now().astimezone()
    )
