"""Files that appear whole or not at all, whatever stops the writing."""

from __future__ import annotations

import os
import stat
import threading
from typing import TYPE_CHECKING, Any

import pytest

from answers import files_of_at_most
from batchroute.errors import RunFault, Stopped, UsageFault
from batchroute.store.files import (
    AS_UMASK_SAYS,
    make_directory,
    refuse_file_in_the_way,
    refuse_homeless,
    saving,
    whole_file,
    write_together,
    write_whole,
)
from steps import hit_at_every_step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OLD, NEW = b"old " * 2000, b"new " * 3000


def a_file_replaced(directory: Path) -> Iterator[None]:
    write_whole(directory / "file", OLD)
    yield
    write_whole(directory / "file", NEW)


def files_replaced(directory: Path) -> Iterator[None]:
    write_together(directory, {"first": OLD, "second": OLD, "commit": OLD})
    yield
    write_together(directory, {"first": NEW, "second": NEW, "commit": NEW})


@pytest.mark.parametrize("mishap", ["kill", "full"])
def test_whatever_step_a_write_dies_at_the_file_is_the_old_or_the_new_one(tmp_path: Path, mishap: Any) -> None:
    hits = hit_at_every_step("test_files:a_file_replaced", mishap, tmp_path)
    assert len(hits) > 3
    assert (hits[-1].directory / "file").read_bytes() == NEW
    for hit in hits:
        assert (hit.directory / "file").read_bytes() in {OLD, NEW}, hit
        write_whole(hit.directory / "file", NEW)
        assert [path.name for path in hit.directory.iterdir()] == ["file"]


@pytest.mark.parametrize("mishap", ["kill", "full"])
def test_files_that_belong_together_are_never_old_beside_new(tmp_path: Path, mishap: Any) -> None:
    hits = hit_at_every_step("test_files:files_replaced", mishap, tmp_path)
    assert len(hits) > 10
    assert (hits[-1].directory / "commit").read_bytes() == NEW
    for hit in hits:
        if (hit.directory / "commit").exists():
            names = ("first", "second", "commit")
            assert {(hit.directory / name).read_bytes() for name in names} in ({OLD}, {NEW}), hit


def test_a_disk_that_fills_up_leaves_what_stood_there_and_nothing_beside_it(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", OLD)
    stopped = pytest.raises(Stopped, match="file: cannot be written: File too large; fix that, then run again")
    with files_of_at_most(9000), stopped, saving(tmp_path / "file"):
        write_whole(tmp_path / "file", NEW)
    assert (tmp_path / "file").read_bytes() == OLD
    with files_of_at_most(9000), pytest.raises(OSError, match="File too large"):
        write_together(tmp_path, {"other": b"short", "file": NEW})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_error_of_the_writer_leaves_what_stood_there(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", OLD)
    with pytest.raises(KeyError), whole_file(tmp_path / "file") as unfinished:
        unfinished.write_bytes({"old": OLD}["new"])
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", OLD)]


def test_a_file_is_its_owners_alone_unless_it_is_for_others(tmp_path: Path) -> None:
    (tmp_path / ".mine.unfinished").touch(0o644)  # of a crash
    write_whole(tmp_path / "mine", NEW)
    umask = os.umask(0o022)
    try:
        write_whole(tmp_path / "ours", NEW, mode=AS_UMASK_SAYS)
    finally:
        os.umask(umask)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"mine": 0o600, "ours": 0o644}


def test_a_link_stays_a_link_and_a_pipe_stays_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "file")
    write_whole(tmp_path / "link", NEW)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "file").read_bytes() == NEW

    os.mkfifo(tmp_path / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_whole(tmp_path / "pipe", NEW)
    reader.join()
    assert read == [NEW]
    assert (tmp_path / "pipe").is_fifo()


def test_a_directory_is_made_with_those_above_it(tmp_path: Path) -> None:
    make_directory(tmp_path / "a" / "b", 0o700)
    make_directory(tmp_path / "a" / "b", 0o700)
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_what_cannot_be_written_is_said_before_anything_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageFault, match="there is no directory"):
        refuse_homeless(tmp_path / "nowhere" / "out")
    with pytest.raises(RunFault, match=r"file: is a file; output\.path must name a directory"):
        refuse_file_in_the_way(tmp_path / "file" / "run")
    refuse_homeless(tmp_path / "out")
    refuse_file_in_the_way(tmp_path / "run")
