"""Where what the commands say goes: data on stdout, everything else on stderr, nothing that harms a terminal.

How figures are written is decided by show/words.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from batchroute.run.streams import take_loss
from batchroute.show.log import log_now_and_then
from batchroute.show.words import count, harmless

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console, RenderableType

    from batchroute.show.summary import Summary

log = logging.getLogger("batchroute")  # the library logs to its children; only a command gives it a handler
_SUMMARY = logging.WARNING + 1  # said with --quiet, too; no warning


def setup_logging(style: str, *, quiet: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if style == "json" else _Text())
    log.handlers[:] = [handler]
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    log.propagate = False  # a root logger that some library set up would say everything twice


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        plain = record.levelno <= logging.INFO or record.levelno == _SUMMARY
        mark = "" if plain else f"{record.levelname.lower()}: "
        return harmless(mark + record.getMessage())


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds"),
            "level": "info" if record.levelno == _SUMMARY else record.levelname.lower(),
            "message": record.getMessage(),
        }
        if (summary := getattr(record, "summary", None)) is not None:
            import msgspec

            fields["summary"] = msgspec.to_builtins(summary)
        return json.dumps(fields)


def say_summary(summary: Summary) -> None:
    """The last line of a run, also where only what went wrong is said."""
    line = summary.line(datetime.now().astimezone())
    log.log(_SUMMARY, "%s", line, extra={"summary": summary})


def log_scored() -> Callable[[int], None]:
    """Logs now and then how many rows are scored."""
    say = log_now_and_then()
    return lambda rows: say(f"scored {count(rows)} rows")


def warn_of_loss() -> None:
    """For what a command prints beside what it does: that stdout did not take it is a warning."""
    if (loss := take_loss()) is not None:
        log.warning(loss)


def show(renderable: RenderableType) -> None:
    """Data for people on stdout; in a pipe or a file without the blanks that fill a terminal's lines."""
    stdout = console()
    if stdout.is_terminal:
        stdout.print(renderable)
        return
    # rich fills each line to the width of the terminal; in a file that is only noise for diff and grep.
    with stdout.capture() as captured:
        stdout.print(renderable)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


# JSON may hold them as they are; a terminal obeys some of them.
_C1_ESCAPED = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}


def show_json(encoded: bytes) -> None:
    """A command's figures for other programs; control characters that a provider wrote are escaped."""
    click.echo(encoded.decode().translate(_C1_ESCAPED), nl=False)


def console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    # FORCE_COLOR puts colours into a file or a pipe, too; there nothing can be drawn anew in place.
    stream = sys.stderr if stderr else sys.stdout
    # Highlighting would colour every number and path, also in text that is a user's prompt.
    return Console(stderr=stderr, highlight=False, force_interactive=None if stream.isatty() else False)
