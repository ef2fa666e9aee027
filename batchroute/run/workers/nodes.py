"""What each machine of a cluster is asked before anything is sent, and which of them cannot work, and why.

Whether it has this version of batchroute, the variables of the keys, the run directory, locks that are honoured.
Tells names of variables, not what stands in them. Knows no Ray.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from batchroute import __version__
from batchroute.errors import BatchrouteError, UsageFault
from batchroute.job.spec import Job
from batchroute.send.open import asked_by, secrets_of
from batchroute.store.files import saving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Question(msgspec.Struct, frozen=True):
    """The job as JSON, and a file in the run directory that the driver has locked, with what stands in it."""

    job: str
    file: str
    nonce: str


class Answer(msgspec.Struct, frozen=True):
    """What a machine found: what is wrong with its keys, what it read, whether it was refused the lock."""

    host: str
    keys: str | None
    nonce: str | None
    is_refused: bool


@contextlib.contextmanager
def asking(job: Job, probe: Path) -> Iterator[Question]:
    """What to ask, as long as the answers count: the file `probe` is there and locked meanwhile."""
    nonce = secrets.token_hex(16)
    with contextlib.ExitStack() as stack:
        with saving(probe):
            file = stack.enter_context(probe.open("w"))
            stack.callback(probe.unlink, missing_ok=True)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(nonce)
            file.flush()
            os.fsync(file.fileno())
        yield Question(job.model_dump_json(by_alias=True, exclude_none=True), str(probe), nonce)


def answer(question: bytes) -> bytes:
    """On the machine that is asked."""
    asked = msgspec.json.decode(question, type=Question)
    nonce, is_refused = _read(Path(asked.file))
    keys = _missing_keys(Job.model_validate_json(asked.job), os.environ)
    return msgspec.json.encode(Answer(socket.gethostname(), keys, nonce, is_refused))


def _missing_keys(job: Job, environ: Mapping[str, str]) -> str | None:
    try:
        secrets_of(asked_by(job), environ)
    except BatchrouteError as fault:
        return str(fault)
    return None


def _read(path: Path) -> tuple[str | None, bool]:
    """What stands in the file, None where it is not there; and whether its lock was refused."""
    try:
        with path.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read(), True
            return file.read(), False
    except OSError:
        return None, False


def refuse_version(machine: str, version: str | None) -> None:
    """UsageFault where a machine has no batchroute, or another one than this."""
    if version is None:
        raise UsageFault(f"{machine}: batchroute is not installed there; install {__version__}, as here")
    if version != __version__:
        raise UsageFault(
            f"{machine}: has batchroute {version}, and here is {__version__}; install the same on both"
        )


def refuse_unfit(question: Question, answered: bytes) -> None:
    """UsageFault where a machine cannot work on the run: for want of the directory, of locks, of keys."""
    found = msgspec.json.decode(answered, type=Answer)
    folder = Path(question.file).parent
    if found.nonce != question.nonce:
        raise UsageFault(
            f"{found.host}: does not see the run directory {folder}; "
            "put output.path where all machines see it under the same path"
        )
    if not found.is_refused:
        raise UsageFault(
            f"{found.host}: locks in {folder} are not honoured there; mount it with locks "
            "(NFS: without nolock and local_lock)"
        )
    if found.keys is not None:
        raise UsageFault(f"{found.host}: {found.keys}")
