"""What a run says while it is at work: on a real terminal, and in a pipe."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from batchroute.run.progress import LaneProgress, Progress
from batchroute.show.progress import progress_table
from inputs import lines
from jobs import on_both, simulated, write_job

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = "from batchroute.cli import main; main()"


def write_night(folder: Path) -> None:
    write_job(
        folder,
        {"router.use": "random", "routing": {"strong_fraction": 0.3}},
        {**simulated(latency_s=0.1), **on_both("max_concurrency", 4)},
        {"endpoints.strong.simulate": {"latency_s": 0.3, "error_rate": 0.1}},
    )


def lanes(strong: tuple[int, int | None], weak: tuple[int, int | None]) -> Progress:
    """A run so old that a test's seconds are nothing to it; of each lane the rows settled and those to settle."""
    progress = Progress(rows=100, lanes={"strong": LaneProgress(), "weak": LaneProgress()})
    progress.started_s -= 10_000.0
    progress.lanes["strong"].ok, progress.lanes["strong"].rows = strong
    progress.lanes["weak"].ok, progress.lanes["weak"].rows = weak
    return progress


@pytest.mark.parametrize(
    ("strong", "weak", "eta_s"),
    [
        ((1, 10), (80, 90), 90_000.0),  # a slow lane decides, however fast the other is
        ((10, 10), (45, 90), 10_000.0),
        ((10, 10), (90, 90), 0.0),
        ((0, 0), (45, 90), 10_000.0),
        ((0, 10), (80, 90), None),  # nothing is known of the strong lane's speed
        ((1, None), (80, None), None),  # still scoring
    ],
)
def test_the_slower_lane_decides_how_long_it_takes(
    strong: tuple[int, int | None], weak: tuple[int, int | None], eta_s: float | None
) -> None:
    assert lanes(strong, weak).eta_s == (None if eta_s is None else pytest.approx(eta_s, rel=0.02))


def on_a_terminal(folder: Path) -> str:
    """All that a run writes to a terminal of 100 columns."""
    here, there = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    command = [sys.executable, "-c", COMMAND, "run", str(folder / "job.toml")]
    with subprocess.Popen(command, stdin=there, stdout=there, stderr=there, env=environ) as process:
        os.close(there)
        text = b""
        while block := read(here):
            text += block
        assert process.wait() == 0
    os.close(here)
    return text.decode()


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # the other side is closed
        return b""


def test_a_terminal_shows_both_lanes_and_what_is_left(tmp_path: Path) -> None:
    """Whatever the first drawing caught of the run, and however many followed it."""
    lines(tmp_path / "prompts.jsonl", *({"prompt": f"question {number}"} for number in range(60)))
    write_night(tmp_path)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", on_a_terminal(tmp_path))
    for heading in ("lane", "ok", "refused", "failed", "in flight", "rows/s", "spent"):
        assert heading in shown
    assert re.search(r"SIMULATED: \d+ of \d+ (scored )?rows in \d+:\d\d:\d\d, \$0\.\d+, ", shown)
    assert re.search(r"│ strong │ +\d+ │", shown)
    assert "complete; results are in" in shown


def test_an_error_type_is_no_markup_and_steers_no_terminal() -> None:
    progress = lanes((10, 20), (45, 90))
    progress.errors["[/red]\x1b[2J"] = 3
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(progress_table(progress))
    assert "[/red]\N{REPLACEMENT CHARACTER}[2J 3" in console.export_text()


def test_the_table_says_how_far_the_run_is_and_what_is_left() -> None:
    progress = lanes((10, 20), (45, 90))
    progress.simulated = True
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(progress_table(progress))
    shown = console.export_text()
    assert re.search(r"SIMULATED: 55 of 100 rows in 2:4\d:\d\d, \$0\.0000, about 2:4\d:\d\d left", shown)
    assert re.search(r"│ strong │ +10 │ +0 │ +0 │", shown)
    assert re.search(r"│ weak   │ +45 │ +0 │ +0 │", shown)
