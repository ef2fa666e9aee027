"""A command on a real terminal, and what one sees there: all that was written, as a terminal shows it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

from rich.cells import cell_len

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COMMAND = [sys.executable, "-c", "from batchroute.cli import main; main()"]
_PARTS = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\r|\n|[^\x1b\r\n]+")


class Screen:
    """The few things that rich asks of a terminal: colours, erasing a line, going up; lines wrap at the edge.

    `lines` are all that was ever shown and not erased, those that have left the screen at its top among them.
    """

    def __init__(self, width: int, height: int) -> None:
        self.lines = [""]
        self.cursor_is_shown = True
        self._width, self._height = width, height
        self._line = self._column = 0

    def write(self, text: str) -> None:
        for part in _PARTS.finditer(text):
            if part[0] == "\r":
                self._column = 0
            elif part[0] == "\n":
                self._down()
            elif part[2] is None:
                self._put(part[0])
            else:
                self._control(part[1], part[2])

    def narrowed(self, width: int) -> None:
        """As most terminals do it when their window becomes narrower: lines that are too long are broken."""
        broken: list[str] = []
        for number, line in enumerate(self.lines):
            pieces = [line[at : at + width] for at in range(0, len(line.rstrip()), width)] or [""]
            broken += pieces
            if number == self._line:
                row, column = len(broken) - 1, self._column
        self.lines, self._width, self._line, self._column = broken, width, row, column

    def _control(self, number: str, letter: str) -> None:
        if letter == "A":
            top = max(0, len(self.lines) - self._height)
            self._line = max(top, self._line - int(number or 1))
        elif (number, letter) == ("2", "K"):
            self.lines[self._line] = ""
        elif number == "?25":
            self.cursor_is_shown = letter == "h"
        else:
            assert letter == "m", f"what does {number}{letter} do?"

    def _put(self, text: str) -> None:
        for char in text:
            if self._column + cell_len(char) > self._width:
                self._column = 0
                self._down()
            line = self.lines[self._line].ljust(self._column)
            self.lines[self._line] = line[: self._column] + char + line[self._column + 1 :]
            self._column += 1

    def _down(self) -> None:
        self._line += 1
        if self._line == len(self.lines):
            self.lines.append("")

    def __str__(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines)


class Terminal:
    """A command that runs in a terminal of its own; `seen` waits until something stands there."""

    def __init__(self, process: subprocess.Popen[bytes], here: int, screen: Screen) -> None:
        self.process = process
        self.screen = screen
        self.written = ""
        self._here = here

    def seen(self, what: Callable[[str], object]) -> str:
        """What is shown once `what` is true of it; fails where the command ends before that."""
        while not what(str(self.screen)):
            assert self._read(), f"ended without it:\n{self.screen}"
        return str(self.screen)

    def press(self, keys: bytes) -> None:
        os.write(self._here, keys)

    def ended(self) -> int:
        """The exit code, when all that was written is shown."""
        while self._read():
            pass
        return self.process.wait()

    def _read(self) -> bool:
        try:
            text = os.read(self._here, 1 << 16).decode()
        except OSError:  # the other side is closed
            return False
        self.written += text
        self.screen.write(text)
        return bool(text)


@contextlib.contextmanager
def terminal(
    *arguments: object,
    width: int = 80,
    height: int = 24,
    stdout: int | None = None,
    stderr: int | None = None,
    **environ: str,
) -> Iterator[Terminal]:
    """The command of these arguments; one of its streams may go elsewhere."""
    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=there,
        stdout=there if stdout is None else stdout,
        stderr=there if stderr is None else stderr,
        env={**inherited, "TERM": "xterm", **environ},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one thread, one call
    ) as process:
        os.close(there)
        try:
            yield Terminal(process, here, Screen(width, height))
        finally:
            process.kill()
            os.close(here)
