"""Fingerprints and answers on disk: found as they were put there, with no file left, and a full disk is named."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from answers import files_of_at_most
from batchroute.errors import Stopped
from batchroute.send.classify import Answer
from batchroute.send.scratch import Scratch
from batchroute.types import Completion, Usage

# Few distinct ones, so that they occur twice; some share a half.
HALVES = st.sampled_from([b"\0" * 8, b"\xff" * 8, b"12345678", b"1234567\x88", bytes(range(8))])
FINGERPRINTS = st.builds(lambda high, low: high + low, HALVES, HALVES) | st.binary(min_size=16, max_size=16)
ANSWERS = st.builds(
    lambda text, tokens, body: Answer(
        verdict="ok", completion=Completion("m", text, usage=Usage(tokens, None, tokens)), body=body
    ),
    st.none() | st.text(max_size=20),
    st.none() | st.integers(0, 1 << 40),
    st.none() | st.text(max_size=20),
)
# Holds a scratch file with more than its memory takes, says so, and waits to be killed.
HOLD = """
import os, sys, time
from pathlib import Path
from batchroute.send.scratch import Scratch
scratch = Scratch(Path(sys.argv[1]))
scratch.add_fingerprints((os.urandom(16) for _ in range(1000)), 0)
print("here", flush=True)
time.sleep(3600)
"""


@given(st.lists(st.lists(FINGERPRINTS, max_size=12), max_size=4), st.lists(FINGERPRINTS, max_size=12))
def test_every_fingerprint_is_found_where_it_first_stood(parts: list[list[bytes]], asked: list[bytes]) -> None:
    known = [fingerprint for part in parts for fingerprint in part]
    with tempfile.TemporaryDirectory() as folder, closing(Scratch(Path(folder))) as scratch:
        first = 0
        for part in parts:
            scratch.add_fingerprints(part, first)
            first += len(part)
        found = scratch.places([*known, *asked])
    assert found == {each: known.index(each) for each in [*known, *asked] if each in known}


def test_a_hundred_thousand_are_found_again(tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    parts = [[bytes(each) for each in chance.integers(0, 256, (20_000, 16), np.uint8)] for _ in range(5)]
    with closing(Scratch(tmp_path)) as scratch:
        for number, part in enumerate(parts):
            scratch.add_fingerprints(part, number * 20_000)
        for number, part in enumerate(parts):
            rows = chance.integers(0, 20_000, 1000).tolist()
            found = scratch.places([bytes(16), *(part[row] for row in rows)])
            assert found == {part[row]: number * 20_000 + row for row in rows}


@given(st.lists(st.lists(ANSWERS, max_size=8), max_size=4), st.data())
def test_answers_come_back_in_whatever_order_they_are_asked_for(
    parts: list[list[Answer]], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder, closing(Scratch(Path(folder))) as scratch:
        for number, part in enumerate(parts):
            scratch.add_answers(part, 100 * number)
            asked = data.draw(st.lists(st.integers(0, 100 * number + 9), max_size=8))
            known = {100 * n + i: answer for n in range(number + 1) for i, answer in enumerate(parts[n])}
            assert scratch.answers(asked) == {place: known[place] for place in asked if place in known}


def test_nothing_is_left_of_it_though_the_process_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        assert list(tmp_path.iterdir()) == []
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_stops_the_run_and_is_named(tmp_path: Path) -> None:
    with closing(Scratch(tmp_path)) as scratch, files_of_at_most(50_000):
        scratch.add_answers([Answer(verdict="ok", body="small")], 0)
        with pytest.raises(Stopped, match=rf"{tmp_path}: .* cannot be saved: disk I/O error; fix that"):
            scratch.add_answers((Answer(verdict="ok", body="x" * 5000) for _ in range(100)), 1)


def test_a_folder_that_takes_no_file_stops_the_run(tmp_path: Path) -> None:
    with files_of_at_most(0), pytest.raises(Stopped, match="fix that, then run again"):
        Scratch(tmp_path)
    with pytest.raises(Stopped, match="No such file or directory"):
        Scratch(tmp_path / "gone")
