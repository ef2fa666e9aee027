"""What the commands say: data on stdout, everything else on stderr, and nothing that harms a terminal."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console, RenderableType

log = logging.getLogger("batchroute")

_CONTROL = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}")


def setup_logging(style: str, *, quiet: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if style == "json" else _Text())
    log.handlers[:] = [handler]
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    log.propagate = False


def harmless(text: str) -> str:
    """Prompts and answers are other people's text: no control character of theirs reaches the terminal."""
    return text.translate(_CONTROL)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        mark = "" if record.levelno <= logging.INFO else f"{record.levelname.lower()}: "
        return harmless(mark + record.getMessage())


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        return json.dumps(fields)


def row_logger(verb: str, every_s: float = 5.0) -> Callable[[int], None]:
    last = time.monotonic()

    def tell(rows: int) -> None:
        nonlocal last
        if time.monotonic() - last >= every_s:
            last = time.monotonic()
            log.info(f"{verb} {rows:,} rows")

    return tell


def show(renderable: RenderableType) -> None:
    """Data for people on stdout; in a pipe or a file without the blanks that fill a terminal's lines."""
    stdout = console()
    if stdout.is_terminal:
        stdout.print(renderable)
        return
    with stdout.capture() as captured:
        stdout.print(renderable)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)
