"""Answers not sealed yet: an append-only file of whole records.

A record is its length and CRC-32 (two little-endian u32) and a msgpack-encoded value: a row, or what an embedder
brought. It counts if and only if it is whole. Knows nothing of Parquet.

After a crash at any moment a reader takes the records up to the first that is not whole, and a writer cuts the
rest off, since it would hide whatever is appended behind it:

    [212|crc|row 0] [198|crc|row 1] [205|crc|row 2, cut short]    rows 0 and 1 are done, row 2 is asked again
    [212|crc|row 0] [  0|  0|       zeros up to 4096         ]    row 0: the machine died before its data was safe

A row is a msgpack array, in any format there has been. What stands first tells them apart: a file's name is format
1, a whole number the format.

    2   [2, "prompts.jsonl", 7, "ok", "id-7", 0.25, "weak", ...]   its number, then the fields of `Result`
    1   ["prompts.jsonl", 7, "ok", "id-7", 0.25, "weak", ...]      the fields that there were then
    0   [0, 5]                                                     no row: the epoch of who began this journal

The last one is the first record of every journal of a shard.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from batchroute.errors import RunFault
from batchroute.store.columns import COLUMNS, FORMAT
from batchroute.store.files import decoding
from batchroute.types import Result, RowEnd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from typing import TypeAlias

    Place: TypeAlias = tuple[int, int]  # of a record's value in its file: its first byte, how many it takes

Value = TypeVar("Value")
End = TypeVar("End", bound=RowEnd)

SYNC_EVERY_S = 0.25  # as long as what was appended may be lost by a power cut

_HEAD = struct.Struct("<II")
_READ_BYTES = 1 << 20
_EPOCH_HEAD = b"\x92\x00"
_LATER = {column.name for column in COLUMNS if column.since > 1}
_FORMAT_1 = tuple(name for name in Result.__struct_fields__ if name not in _LATER)


class EpochRecord(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """The first record of a shard's journal: the epoch of the only writer that ever appends to it."""

    number: int


class Journal:
    """Appends records to one file; each is handed to the kernel before `append` returns."""

    def __init__(
        self, path: Path, encode: Callable[[Any], bytes] | None = None, *, epoch: int | None = None
    ) -> None:
        """Opens or creates the file, cutting off a torn end; `encode` turns what is appended into a record.

        `epoch`: that of who begins it, which is its first record, and is not counted.
        """
        self.path = path
        self.records, self.bytes = _measure(path)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._fd, self.bytes)
        self._encode = encode or msgspec.msgpack.Encoder().encode
        self._unsynced = True
        self._handle = threading.Lock()  # one thread syncs every so often, another closes when it seals
        if epoch is not None:
            self._write(msgspec.msgpack.encode(EpochRecord(epoch)))

    def append(self, value: msgspec.Struct) -> None:
        """Raises OSError when the record is not on file as a whole; the row then is not done."""
        self._write(self._encode(value))
        self.records += 1

    def _write(self, payload: bytes) -> None:
        record = _HEAD.pack(len(payload), zlib.crc32(payload)) + payload
        try:
            written = os.write(self._fd, record)
            while written < len(record):  # a full disk takes part of a record first and then raises
                written += os.write(self._fd, record[written:])
        except OSError:
            os.ftruncate(self._fd, self.bytes)  # behind a torn record none would be found
            raise
        self.bytes += len(record)
        self._unsynced = True

    def sync(self) -> bool:
        """Forces what was appended onto the disk; False where there was nothing."""
        with self._handle:
            if not self._unsynced or self._fd < 0:
                return False
            self._unsynced = False  # before the call: a record appended meanwhile may not be part of it
            os.fdatasync(self._fd)
            return True

    def close(self) -> None:
        """Idempotent, without a last sync."""
        with self._handle:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1


def read_journal(path: Path) -> Iterator[Result]:
    """The results on whole records, in the order of their writing; RunFault for one that cannot be read."""
    decode = row_decoder(path, Result)
    return (decode(payload) for _, payload in _rows(path))


def read_ends(path: Path) -> Iterator[tuple[RowEnd, Place]]:
    """The same, but no more than how each ended, and where `read_at` finds the whole of it."""
    decode = row_decoder(path, RowEnd)
    return ((decode(payload), (start, len(payload))) for start, payload in _rows(path))


def read_epoch_of(path: Path) -> int:
    """The epoch of who began the journal; 0 where none stands there."""
    _, first = next(_payloads(path), (0, b""))
    return msgspec.msgpack.decode(first, type=EpochRecord).number if _is_epoch(first) else 0


def read_at(path: Path, places: Iterable[Place]) -> Iterator[Result]:
    """The results at these places of `read_ends`, in this order."""
    decode = row_decoder(path, Result)
    with path.open("rb", buffering=0) as file:
        for start, size in places:
            yield decode(os.pread(file.fileno(), size, start))


def read_records(path: Path, kind: type[Value]) -> Iterator[Value]:
    """The values of this kind on whole records, in the order of their writing; RunFault for any other value."""
    decode = msgspec.msgpack.Decoder(kind).decode
    with decoding(path, "move it away to go on without it"):
        for _, payload in _payloads(path):
            yield decode(payload)


def _rows(path: Path) -> Iterator[tuple[int, bytes]]:
    """As `_payloads`, without what says whose the journal is."""
    return (each for each in _payloads(path) if not _is_epoch(each[1]))


def _is_epoch(payload: bytes) -> bool:
    """By its first bytes: an array of two, and tag 0; a row's has more fields."""
    return payload[:2] == _EPOCH_HEAD


def _measure(path: Path) -> tuple[int, int]:
    """How many whole records there are, and how many bytes they take."""
    ends = [start + len(payload) for start, payload in _payloads(path)]
    return len(ends), ends[-1] if ends else 0


def _payloads(path: Path) -> Iterator[tuple[int, bytes]]:
    """What each whole record holds, and at which byte of the file that begins."""
    try:
        opened = path.open("rb", buffering=_READ_BYTES)
    except FileNotFoundError:
        return
    with opened as file:
        size = os.fstat(file.fileno()).st_size
        start = _HEAD.size
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            length, checksum = _HEAD.unpack(head)
            # A crash of the machine may leave zeros, which would pass for an empty record, or any length.
            if not 0 < length <= size - start:
                return
            payload = file.read(length)
            if zlib.crc32(payload) != checksum:
                return
            yield start, payload
            start += length + _HEAD.size


def row_encoder(format: int) -> Callable[[Any], bytes]:  # noqa: A002  # the directory's
    """What writes a `Result` as a directory of this format has it."""
    encode = msgspec.msgpack.Encoder().encode
    if format == FORMAT:
        return encode
    return lambda result: encode([getattr(result, name) for name in _FORMAT_1])


def row_decoder(path: Path, kind: type[End]) -> Callable[[bytes], End]:
    """What reads rows, or how they ended, from records of the journal `path`, whichever format each has."""
    decode = msgspec.msgpack.Decoder(kind).decode

    def decode_any(record: bytes) -> End:
        try:
            return decode(record)
        except ValueError:  # what msgspec raises, and bytes that are no UTF-8
            return _decode_other(record, kind, path)

    return decode_any


def _decode_other(record: bytes, kind: type[End], path: Path) -> End:
    """A record that is not of the present format."""
    with decoding(path, "move it away to ask its rows again"):
        first, *others = msgspec.msgpack.decode(record, type=list)
        if isinstance(first, int) and first > FORMAT:
            raise RunFault(
                f"{path}: has records of format {first}, this version reads up to {FORMAT}; "
                "go on with the version of batchroute that wrote them"
            )
        if isinstance(first, str):
            # A row's end is the beginning of a row, so this finds its fields, too.
            known = dict(zip(_FORMAT_1, (first, *others), strict=True))
            return msgspec.convert([FORMAT, *(known.get(name) for name in kind.__struct_fields__)], kind)
        return msgspec.msgpack.decode(record, type=kind)  # it fails again, and says why
