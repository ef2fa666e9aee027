"""The command line as a function: what a command printed, and how it exited."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from batchroute.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    out: str
    err: str


@pytest.fixture
def batchroute(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Runs one command in this process, through the same door as the shell's."""

    def command(*arguments: object) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        code = end.value.code
        assert isinstance(code, int), f"exited with {code!r}"
        return Said(code, captured.out, captured.err)

    return command


def assert_one_message(said: Said, code: int, *words: str) -> None:
    """SPEC's way to fail: the code, the words, no traceback, nothing on stdout."""
    sys.stderr.write(said.err)
    assert said.code == code
    assert "Traceback" not in said.err
    assert said.err.count("error: ") == 1
    for word in words:
        assert word in said.err
    assert said.out == ""
