"""What a run says while it is at work: on a real terminal, and in a pipe."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from batchroute.run.progress import Progress
from inputs import lines

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = "from batchroute.cli import main; main()"
JOB = """
[input]
path = "prompts.jsonl"
[output]
path = "run"
[router]
use = "random"
[routing]
strong_fraction = 0.3
[endpoints.strong]
model = "gpt-5"
max_concurrency = 4
simulate = { latency_s = 0.3, error_rate = 0.1 }
[endpoints.weak]
model = "o4-mini"
max_concurrency = 4
simulate = { latency_s = 0.1 }
"""


def lanes(strong: tuple[int, int | None], weak: tuple[int, int | None]) -> Progress:
    """A run ten seconds old; of each lane the rows settled, and those to settle."""
    progress = Progress(rows=100)
    progress.started_s -= 10.0
    progress.lanes["strong"].ok, progress.lanes["strong"].rows = strong
    progress.lanes["weak"].ok, progress.lanes["weak"].rows = weak
    return progress


@pytest.mark.parametrize(
    ("strong", "weak", "eta_s"),
    [
        ((1, 10), (80, 90), 90.0),  # a slow lane decides, however fast the other is
        ((10, 10), (45, 90), 10.0),
        ((10, 10), (90, 90), 0.0),
        ((0, 0), (45, 90), 10.0),
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
    lines(tmp_path / "prompts.jsonl", *({"prompt": f"question {number}"} for number in range(60)))
    (tmp_path / "job.toml").write_text(JOB)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", on_a_terminal(tmp_path))
    for heading in ("lane", "ok", "refused", "failed", "in flight", "rows/s", "spent"):
        assert heading in shown
    assert re.search(r"SIMULATED: \d+ of 60 rows in 0:00:0\d, \$0\.\d+, about 0:00:\d\d left", shown)
    assert re.search(r"│ strong │ +\d+ │", shown)
    assert "complete; results are in" in shown
