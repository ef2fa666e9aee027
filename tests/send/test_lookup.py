from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from batchroute.send.lookup import Lookup

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Few distinct ones, so that they occur twice; some share a half, some only the first bits.
HALVES = st.sampled_from([b"\0" * 8, b"\xff" * 8, b"12345678", b"1234567\x88", bytes(range(8))])
FINGERPRINTS = st.builds(lambda high, low: high + low, HALVES, HALVES) | st.binary(min_size=16, max_size=16)


def part_of(fingerprints: list[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(fingerprints), np.uint8).reshape(-1, 16)


@given(
    parts=st.lists(st.lists(FINGERPRINTS, max_size=12), max_size=4),
    asked=st.lists(FINGERPRINTS, max_size=12),
    sorted_at_once=st.sampled_from([1, 3, 1 << 20]),
)
def test_every_fingerprint_is_found_where_it_first_stood(
    parts: list[list[bytes]], asked: list[bytes], sorted_at_once: int
) -> None:
    known = [fingerprint for part in parts for fingerprint in part]
    # Of two with the same first half only one is found: to lose an answer costs money, to mistake one is wrong.
    halves = {
        fingerprint[:8]: fingerprint
        for fingerprint in sorted(known, key=lambda each: each[8:][::-1], reverse=True)
    }
    with tempfile.TemporaryDirectory() as folder:
        lookup = Lookup([part_of(part) for part in parts], Path(folder), sorted_at_once=sorted_at_once)
        assert list(Path(folder).iterdir()) == [], "it leaves nothing behind"
        found = lookup.find([*known, *asked]).tolist()
    expected = [known.index(each) if halves.get(each[:8]) == each else -1 for each in [*known, *asked]]
    assert found == expected


def test_a_million_are_found_again(tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    parts = [chance.integers(0, 256, (20_000, 16), np.uint8) for _ in range(50)]
    lookup = Lookup(parts, tmp_path, sorted_at_once=100_000)
    for number in (0, 7, 49):
        rows = chance.integers(0, 20_000, 1000)
        found = lookup.find([bytes(parts[number][row]) for row in rows])
        assert found.tolist() == (number * 20_000 + rows).tolist()
    assert lookup.find([bytes(16)]).tolist() == [-1]
