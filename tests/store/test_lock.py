"""The lock of a run directory: who holds it is seen by all, and looking keeps nobody from beginning."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from batchroute.errors import Stopped
from batchroute.store.lock import Holder, LockState, lock_state, locked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLD = """
import sys, pathlib
from batchroute.store.lock import locked
with locked(pathlib.Path(sys.argv[1]), 0o700):
    print("held", flush=True)
    sys.stdin.read()
"""
NOW = datetime.now().astimezone()


@contextmanager
def held(path: Path) -> Iterator[subprocess.Popen[str]]:
    """By another process, which ends in order with the block."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process


def test_whoever_looks_sees_the_holder_until_it_ends(tmp_path: Path) -> None:
    assert lock_state(tmp_path) == LockState(held=False)
    with held(tmp_path) as process:
        state = lock_state(tmp_path)
        assert state.held
        assert state.holder is not None
        assert (state.holder.pid, state.holder.host) == (process.pid, socket.gethostname())
        assert timedelta() <= datetime.now().astimezone() - state.holder.started_at < timedelta(minutes=1)
        assert state.holder.started_at.utcoffset() is not None
        told = (
            rf"{tmp_path}: a run is at work here: pid {process.pid} on {socket.gethostname()} since .*; wait for"
        )
        with pytest.raises(Stopped, match=told), locked(tmp_path, 0o700):
            raise AssertionError("the lock was taken twice")
    assert lock_state(tmp_path) == LockState(held=False)


def test_a_process_that_was_killed_is_known(tmp_path: Path) -> None:
    with held(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(20)
    state = lock_state(tmp_path)
    assert state.held is False
    assert state.holder is not None
    assert state.holder.pid == process.pid
    with locked(tmp_path, 0o700):
        pass
    assert lock_state(tmp_path) == LockState(held=False)


def test_its_own_process_sees_it_and_does_not_lose_it(tmp_path: Path) -> None:
    with locked(tmp_path, 0o700):
        assert lock_state(tmp_path).held
        assert lock_state(tmp_path).held, "a look that closes the file must not give the lock back"
        with pytest.raises(Stopped, match=f"pid {os.getpid()} on "), locked(tmp_path, 0o700):
            raise AssertionError("the lock was taken twice")


def test_a_look_is_never_taken_for_a_run(tmp_path: Path) -> None:
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            lock_state(tmp_path)
            time.sleep(0.001)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(100):
            with locked(tmp_path, 0o700):
                pass
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_a_directory_that_may_only_be_read(tmp_path: Path) -> None:
    with locked(tmp_path, 0o755):
        pass
    assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o644
    (tmp_path / "lock").chmod(0o444)
    tmp_path.chmod(0o555)
    assert lock_state(tmp_path) == LockState(held=False)


@pytest.mark.parametrize("content", [b"", b"4711", b'{"pid": 47', b"\xff\xfe", b'{"pid": "x", "host": 1}'])
def test_a_file_that_says_nothing_is_a_lock_all_the_same(tmp_path: Path, content: bytes) -> None:
    with locked(tmp_path, 0o700):
        (tmp_path / "lock").write_bytes(content)
        assert lock_state(tmp_path) == LockState(held=True)
        with pytest.raises(Stopped, match="a run is at work here: another process has"), locked(tmp_path, 0o700):
            raise AssertionError("the lock was taken twice")


@pytest.mark.parametrize(
    ("started_at", "words"),
    [
        (NOW.replace(hour=0, minute=7), "pid 4711 on mill since 00:07"),
        (datetime.fromisoformat("2020-11-27T05:12").astimezone(), "pid 4711 on mill since 2020-11-27 05:12"),
    ],
)
def test_the_holder_in_words(started_at: datetime, words: str) -> None:
    assert Holder(4711, "mill", started_at).words() == words
