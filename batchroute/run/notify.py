"""`[notify]`: the job's own command at the end of a run, whatever the end, with the report on its standard input.

It decides nothing: that it fails, hangs or is not there is a warning. Knows no network.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from batchroute.errors import BatchrouteError
from batchroute.job.secrets import key_variables
from batchroute.send.open import asked_by
from batchroute.store.layout import RunLayout

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from typing import IO

    from batchroute.job.spec import Job
    from batchroute.run.end import RunEnd

LONGEST_S = 60.0
_SAID_BYTES = 300


async def notified(
    job: Job, environ: Mapping[str, str], warn: Callable[[str], None], work: Coroutine[Any, Any, RunEnd]
) -> RunEnd:
    """What the work of a run comes to, or raises; the job's command is told that first, of several the last's."""
    if not job.notify.command:
        return await work
    try:
        end = await work
    except Exception as error:
        await _told(job, error_words(job, error), environ, warn)
        raise
    if end.is_last:
        await _told(job, RunLayout(Path(job.output.path)).report.read_bytes(), environ, warn)
    return end


async def _told(job: Job, what: bytes, environ: Mapping[str, str], warn: Callable[[str], None]) -> None:
    if (trouble := await asyncio.to_thread(notify, job, what, environ)) is not None:
        warn(trouble)


def error_words(job: Job, error: Exception) -> bytes:
    """What is told of a run that could not begin, or could no longer save: a small JSON object.

    {"name": ..., "state": "error", "error": ..., "exit_code": 2, "run": ...}; exit code 1 is a bug of ours.
    """
    is_ours = not isinstance(error, BatchrouteError)
    said = f"{type(error).__name__}; the log has a traceback" if is_ours else str(error)
    code = 1 if is_ours else cast("BatchrouteError", error).exit_code
    told = {"name": job.name, "state": "error", "error": said, "exit_code": code, "run": job.output.path}
    return msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n"


def notify(job: Job, told: bytes, environ: Mapping[str, str]) -> str | None:
    """Runs the command and waits for it, but not for long; returns what went wrong.

    It has the environment of the run without the variables that hold the job's keys, and a session of its own, so
    that Ctrl-C does not reach it. What it prints goes nowhere; of a command that fails the end of it is repeated.
    """
    hidden = key_variables(asked_by(job))
    clean = {name: value for name, value in environ.items() if name not in hidden}
    try:
        with tempfile.TemporaryFile() as said:
            code = _run(job.notify.command, told, clean, said)
            if code == 0:
                return None
            what = f"was still at work after {LONGEST_S:.0f} s" if code is None else f"exited with {code}"
            return f"notify.command {what}{_end_of(said)}"
    except OSError as error:
        return f"notify.command cannot be run: {job.notify.command[0]}: {error.strerror or error}"


def _run(command: Sequence[str], told: bytes, environ: Mapping[str, str], said: IO[bytes]) -> int | None:
    """The exit code; None where it had to be ended, with all that it began."""
    with subprocess.Popen(  # noqa: S603 - the job file is code, and no shell reads it
        command, stdin=subprocess.PIPE, stdout=said, stderr=said, env=environ, start_new_session=True
    ) as process:
        try:
            process.communicate(told, LONGEST_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            return None
        return process.returncode


def _end_of(said: IO[bytes]) -> str:
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - _SAID_BYTES))
    text = " ".join(said.read().decode("utf-8", "replace").split())
    return f": {text}" if text else ""
