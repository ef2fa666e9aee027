"""Files that appear under their name whole and durable, or not at all, and directories whose names are durable.

Everything that must survive a crash or a power cut is written through here, journals excepted: they grow by whole
records. Knows nothing of what the files hold.

A rename alone is not enough. For a new `ledger.json` the order is: write `.ledger.json.unfinished`, fsync it (else
the name may be safe before the content is), rename it, fsync the directory (else the old name may come back).
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from batchroute.errors import RunFault, Stopped, UsageFault

if TYPE_CHECKING:
    from collections.abc import Iterator

PRIVATE = 0o600
AS_UMASK_SAYS = 0o666


class saving:  # noqa: N801 - reads as a function; as a generator it would cost every row a microsecond and a half
    """A failed save ends the run at once: nothing may be taken for kept that is not."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            what = error.strerror or error
            raise Stopped(f"{self._path}: cannot be written: {what}; fix that, then run again") from error


@contextlib.contextmanager
def whole_file(path: Path, *, mode: int = PRIVATE, folder: Path | None = None) -> Iterator[Path]:
    """Gives an empty unfinished file to write to; it takes the name `path` when the block ends without an error.

    It lies in `folder`, which must be on the same file system, else beside `path`. A device or a pipe is written
    to as it is: it must not be replaced by a file.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    path = path.resolve()  # a link stays one, and what it points at is replaced
    unfinished = (folder or path.parent) / unfinished_name(path.name)
    unfinished.unlink(missing_ok=True)
    os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
    try:
        yield unfinished
        sync_file(unfinished)
        unfinished.rename(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync_file(path.parent)


@contextlib.contextmanager
def whole_path(path: Path) -> Iterator[Path]:
    """As `whole_file`, for what may be a directory: gives a name at which nothing is yet.

    A directory takes the place of none that has entries: that is an OSError, and leaves both as they were.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        yield path
        return
    path = path.resolve()
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        unfinished = Path(folder) / path.name
        yield unfinished
        for entry in (*unfinished.rglob("*"), unfinished):
            sync_file(entry)
        unfinished.rename(path)
    sync_file(path.parent)


def unfinished_name(name: str) -> str:
    """What a file is called until it is whole; no glob of ours, and no input, has names that begin with a dot."""
    return f".{name}.unfinished"


def write_whole(path: Path, content: bytes, *, mode: int = PRIVATE) -> None:
    """Makes `content` the file `path`, whole and durable, or leaves what stands there."""
    with whole_file(path, mode=mode) as unfinished:
        unfinished.write_bytes(content)


def write_first(path: Path, content: bytes, *, mode: int = PRIVATE) -> None:
    """Makes `content` the file `path`, whole and durable, if there is none; else leaves what stands there.

    Of several processes, on whatever machines, one is first: a link takes no name that is taken. `path` is to be
    read either way, as a file system over a network may say of the first one, too, that it was not.
    """
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{unfinished_name(path.name)}.") as unfinished:
        os.fchmod(unfinished.fileno(), mode)
        unfinished.write(content)
        unfinished.flush()
        os.fsync(unfinished.fileno())
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(unfinished.name)
    sync_file(path.parent)


def unreadable(path: Path, denied: PermissionError) -> RunFault:
    """The fault of a run's file that another user wrote for himself."""
    return RunFault(f"{path}: cannot be read: {denied.strerror}; look at it as the user whose run it is")


@contextlib.contextmanager
def decoding(path: Path, advice: str) -> Iterator[None]:
    """RunFault where what stands in a run's file cannot be decoded; `advice` says what to do about that."""
    try:
        yield
    except ValueError as error:  # what msgspec raises, and bytes that are no UTF-8
        raise RunFault(f"{path}: not as a run wrote it ({error}); {advice}") from error


def write_together(folder: Path, contents: dict[str, bytes], *, mode: int = PRIVATE) -> None:
    """Writes several files that are of use only together; no reader may be able to do without the last one named.

    That one goes before any of the others is replaced, and comes back after all of them. So whenever a crash
    strikes, a reader finds the old files, the new ones, or none that it would take; never old beside new.
    """
    *_, last = contents
    with contextlib.ExitStack() as files:  # left in reverse order: the last one named gets its name last
        for name in reversed(contents):
            files.enter_context(whole_file(folder / name, mode=mode)).write_bytes(contents[name])
        (folder / last).unlink(missing_ok=True)
        sync_file(folder)


def sync_file(path: Path) -> None:
    """Forces a file, or the names in a directory, onto the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_directory(path: Path, mode: int) -> None:
    """The directory and those above it, each one's name forced onto the disk: without it all inside is lost."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    for folder in missing:
        sync_file(folder.parent)


def refuse_homeless(out: Path) -> None:
    """UsageFault where there is no directory that the file `out` could stand in."""
    if not out.parent.is_dir():
        raise UsageFault(f"{out}: there is no directory {out.parent}; create it first")


def refuse_file_in_the_way(path: Path) -> None:
    """RunFault where the directory `path` cannot be made, because it or what should hold it is a file."""
    nearest = next(folder for folder in (path, *path.parents) if folder.exists())
    if not nearest.is_dir():
        raise RunFault(
            f"{nearest}: is a file; output.path must name a directory, or one to be made in a directory"
        )
