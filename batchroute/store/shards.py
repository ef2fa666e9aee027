"""How the input of a run directory was cut: once, by whoever came first.

    {
      "shard_mb": 64.0,
      "files": [{"name": "a.jsonl", "size": ..., "head": ..., "tail": ...}, ...],
      "shards": [[0, "a.jsonl", 0, 0, 41873, 67108990], [1, "b.jsonl.gz", 0, 0, null, null], ...],
      "rows": {"0": 41870}
    }

A shard is its number, its file, its first row and the byte there, its end row and the byte there. In a Parquet
file both "bytes" are row numbers. The ends are null where the file could not be cut, and its rows are not counted.
`rows` are those of shards that have blank lines, too. `files` is the input that was cut, in its order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from batchroute.errors import RunFault
from batchroute.input.chunk import Position
from batchroute.input.cut import Shard, cut, position
from batchroute.input.file import Fingerprint  # noqa: TC001 - msgspec reads it
from batchroute.input.growing import as_begun
from batchroute.store.files import decoding, saving, unreadable, write_first
from batchroute.store.identity import changed_files, find_identity, known_identity
from batchroute.store.lock import cutting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchroute.input.open import Source
    from batchroute.job.engine import EngineSpec
    from batchroute.store.layout import RunLayout

_Entry: TypeAlias = tuple[int, str, int, int, int | None, int | None]


class _Written(msgspec.Struct, frozen=True):
    """See the module."""

    shard_mb: float
    files: tuple[Fingerprint, ...]
    shards: list[_Entry]
    rows: dict[int, int] = {}


@dataclass(frozen=True, slots=True)
class Shards:
    """The shards of a run directory, in input order: shard n is `all[n]`; `files` are what was cut."""

    all: Sequence[Shard]
    files: tuple[Fingerprint, ...]
    shard_mb: float


def open_shards(
    run: RunLayout, source: Source, engine: EngineSpec, senders: int
) -> tuple[Sequence[Shard], Source]:
    """The shards of a directory whose lock this process has, and the source as it was when they were cut.

    Where there are none, the input is cut for so many senders; of several processes that come at once, one cuts
    for all. AnsweredOtherwise where the directory was begun without shards, and where it was cut from another
    input or into shards of another size; RunFault where it is none of a run.
    """
    shards = read_shards(run)
    if shards is None:
        with cutting(run):
            shards = read_shards(run) or _cut(run, source, engine, senders)
    if shards.shard_mb != engine.shard_mb:
        sizes = f"{shards.shard_mb:g} MB, engine.shard_mb is {engine.shard_mb:g} now"
        raise _conflict(run, f"was cut into shards of {sizes}")
    return shards.all, _as_cut(run, source, shards.files)


def _cut(run: RunLayout, source: Source, engine: EngineSpec, senders: int) -> Shards:
    own = (run.failed, run.paid)
    identity = find_identity(run)
    if identity is not None and (run.parts() or run.journals() or run.has_scores() or any(map(Path.exists, own))):
        raise identity.conflict("was begun without shards, and is not cut any more; go on as before")
    new = Shards(cut(source, engine, senders), tuple(source.fingerprint()), engine.shard_mb)
    with saving(run.shards):
        write_first(run.shards, _encoded(new))
        return _decoded(run, run.shards.read_bytes())


def _as_cut(run: RunLayout, source: Source, files: tuple[Fingerprint, ...]) -> Source:
    """The source without what was appended to its files since."""
    same = replace(source, files=as_begun(source.files, {file.name: file for file in files}))
    now = same.fingerprint()
    if tuple(now) != files:
        raise _conflict(run, f"was cut into shards of another input ({changed_files(files, now)})")
    return same


def _conflict(run: RunLayout, why: str) -> RunFault:
    """For shards that are of no use; where no job was begun with them they can go."""
    identity = known_identity(run)
    if identity is None:
        return RunFault(f"{run.path} {why}; put that back, or remove {run.shards}")
    return identity.conflict(f"{why}; put that back")


def read_shards(run: RunLayout) -> Shards | None:
    """The shards of the directory; None where it has none, RunFault where they are not as a run wrote them."""
    try:
        content = run.shards.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as denied:
        raise unreadable(run.shards, denied) from denied
    return _decoded(run, content)


def _decoded(run: RunLayout, content: bytes) -> Shards:
    with decoding(run.shards, "restore it, or name another directory"):
        written = msgspec.json.decode(content, type=_Written)
        places = {file.name: at for at, file in enumerate(written.files)}
        if unknown := {file for _, file, *_ in written.shards} - places.keys():
            raise ValueError(f"{min(unknown)} is none of its files")
    shards = [_shard(entry, places[entry[1]], written.rows) for entry in written.shards]
    return Shards(shards, written.files, written.shard_mb)


def _shard(entry: _Entry, at: int, counted: Mapping[int, int]) -> Shard:
    number, file, row, byte, end_row, end_byte = entry
    start = position(at, row, byte)
    if end_row is None or end_byte is None:
        return Shard(number, file, start, Position(at + 1, 0, 0), None)
    return Shard(number, file, start, position(at, end_row, end_byte), counted.get(number, end_row - row))


def _encoded(shards: Shards) -> bytes:
    entries: list[_Entry] = []
    counted: dict[int, int] = {}
    for shard in shards.all:
        start, end = shard.start, shard.end
        if shard.rows is None:
            entries.append((shard.number, shard.file, start.row, start.offset, None, None))
            continue
        entries.append((shard.number, shard.file, start.row, start.offset, end.row, end.offset))
        if shard.rows != end.row - start.row:
            counted[shard.number] = shard.rows
    return msgspec.json.encode(_Written(shards.shard_mb, shards.files, entries, counted))
