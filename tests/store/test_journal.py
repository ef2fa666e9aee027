from __future__ import annotations

import stat
import struct
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from answers import NO_COLUMNS, files_of_at_most, result
from batchroute.errors import RunFault
from batchroute.store.columns import ResultColumns
from batchroute.store.journal import Journal, read_ends, read_journal
from batchroute.store.layout import RunLayout
from batchroute.store.rows import RunStore

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.types import Result

RESULTS = [
    result(0, raw='{"id": "x"}', keep=b"\x00\xff"),
    result(1, "refused", response="Grüße \U0001f600 \x00"),
    result(2, "failed", side="strong", id=None, cost_usd=None),
]


def written(path: Path, results: list[Result]) -> list[int]:
    """A journal of these; where each record ends in it."""
    journal = Journal(path)
    ends = []
    for entry in results:
        journal.append(entry)
        ends.append(journal.bytes)
    journal.close()
    return ends


def test_every_field_comes_back_in_the_order_of_writing(tmp_path: Path) -> None:
    written(tmp_path / "journal", RESULTS)
    assert list(read_journal(tmp_path / "journal")) == RESULTS
    assert stat.S_IMODE((tmp_path / "journal").stat().st_mode) == 0o600


def test_a_journal_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert list(read_journal(tmp_path / "journal")) == []


def test_cut_at_any_byte_the_whole_records_before_it_survive_and_writing_goes_on(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    ends = written(whole, RESULTS[:2])
    content, later = whole.read_bytes(), result(9)
    for cut in range(len(content) + 1):
        torn = tmp_path / "torn"
        torn.write_bytes(content[:cut])
        survivors = RESULTS[: sum(end <= cut for end in ends)]
        assert list(read_journal(torn)) == survivors

        journal = Journal(torn)
        assert (journal.records, journal.bytes) == (len(survivors), max([0, *(e for e in ends if e <= cut)]))
        journal.append(later)
        journal.close()
        assert list(read_journal(torn)) == [*survivors, later]


@given(tail=st.binary(min_size=1, max_size=200))
def test_garbage_after_the_last_record_is_cut_off(tmp_path_factory: pytest.TempPathFactory, tail: bytes) -> None:
    path = tmp_path_factory.mktemp("garbage") / "journal"
    written(path, RESULTS)
    path.write_bytes(path.read_bytes() + tail)
    assert list(read_journal(path)) == RESULTS
    written(path, [result(9)])
    assert list(read_journal(path)) == [*RESULTS, result(9)]


@pytest.mark.parametrize("zeros", [1, 7, 8, 9, 4096, 3 << 20])
def test_zeros_after_the_last_record_are_no_records(tmp_path: Path, zeros: int) -> None:
    path = tmp_path / "journal"
    written(path, RESULTS)
    path.write_bytes(path.read_bytes() + bytes(zeros))
    assert list(read_journal(path)) == RESULTS


@given(place=st.integers(min_value=0), bit=st.integers(0, 7))
def test_a_flipped_bit_spoils_its_record_and_what_follows_but_nothing_before(
    tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    path = tmp_path_factory.mktemp("flipped") / "journal"
    ends = written(path, RESULTS)
    content = bytearray(path.read_bytes())
    place %= len(content)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    assert list(read_journal(path)) == RESULTS[: sum(end <= place for end in ends)]


def test_a_garbled_length_costs_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    written(path, RESULTS)
    path.write_bytes(path.read_bytes() + struct.pack("<II", 0x7FFFFFFF, 0) + b"short")
    tracemalloc.start()
    try:
        assert list(read_journal(path)) == RESULTS
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_record_is_its_length_its_checksum_and_its_payload(tmp_path: Path) -> None:
    written(tmp_path / "journal", RESULTS[:1])
    content = (tmp_path / "journal").read_bytes()
    length, checksum = struct.unpack_from("<II", content)
    assert (length, checksum) == (len(content) - 8, zlib.crc32(content[8:]))


def test_a_record_that_fits_only_in_part_raises_and_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    room = written(path, RESULTS)[-1]
    journal = Journal(path)
    with files_of_at_most(room + 20), pytest.raises(OSError, match="File too large"):
        journal.append(result(7))
    journal.close()
    assert list(read_journal(path)) == RESULTS


def test_what_is_written_after_a_failed_record_is_read_again(tmp_path: Path) -> None:
    """The lanes may still settle rows on the way down: space can come back between two records."""
    path = tmp_path / "journal"
    room = written(path, RESULTS)[-1]
    journal = Journal(path)
    with files_of_at_most(room + 20), pytest.raises(OSError, match="File too large"):
        journal.append(result(7))
    journal.append(result(8))
    journal.close()
    assert list(read_journal(path)) == [*RESULTS, result(8)]


def test_closing_twice_and_syncing_a_closed_journal_do_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.append(result(0))
    journal.sync()
    journal.close()
    journal.close()
    journal.sync()
    assert list(read_journal(tmp_path / "journal")) == [result(0)]


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (
            msgspec.msgpack.encode([3, "prompts.jsonl", 1, "ok", "more"]),
            "has records of format 3, this version reads",
        ),
        (msgspec.msgpack.encode(["prompts.jsonl", 1, "ok"]), "not as a run wrote it"),
        (msgspec.msgpack.encode([2, "prompts.jsonl", "one", "ok"]), "not as a run wrote it"),
        (msgspec.msgpack.encode({"file": "prompts.jsonl"}), "not as a run wrote it"),
        (msgspec.msgpack.encode([]), "not as a run wrote it"),
        (b"\xc1", "not as a run wrote it"),
        (b"\x94\x02\xa1\xff\x01\xa2ok", "not as a run wrote it .*utf-8"),
    ],
)
def test_a_record_that_this_version_cannot_read_is_one_message(tmp_path: Path, payload: bytes, words: str) -> None:
    journal = Journal(tmp_path / "journal-00000", lambda _: payload)
    journal.append(result(0))
    journal.close()
    with pytest.raises(RunFault, match=f"journal-00000: {words}"):
        list(read_ends(journal.path))
    with pytest.raises(RunFault, match=f"journal-00000: {words}"):
        RunStore(RunLayout(tmp_path), ResultColumns(NO_COLUMNS), mode=0o700)
