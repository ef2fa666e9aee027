"""What a command printed, and how it exited; `conftest.batchroute` runs one."""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    out: str
    err: str


def assert_one_message(said: Said, code: int, *words: str) -> None:
    """SPEC's way to fail: the code, the words, no traceback, nothing on stdout."""
    sys.stderr.write(said.err)
    assert said.code == code
    assert "Traceback" not in said.err
    assert said.err.count("error: ") == 1
    for word in words:
        assert word in said.err
    assert said.out == ""
