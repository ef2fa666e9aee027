"""Compressed answers: what is named is undone, within a bound; what is named and is not so stays as it came."""

from __future__ import annotations

import gzip
import itertools
import zlib

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.send.encoding import Inflater, TooLarge, Undecodable, decoded, stream_inflater

TEXT = b'{"choices": [{"message": {"content": "' + b"fine " * 400 + b'"}}]}'
MOST = len(TEXT)


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)  # else the names of tests would change with the second


def raw_deflate(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    return deflate.compress(data) + deflate.flush()


def brotli(data: bytes) -> bytes:
    return bytes(pa.compress(data, "brotli", asbytes=True))


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, "zstd", asbytes=True))


ENCODED = {
    "gzip": gzipped,
    "x-gzip": gzipped,
    "deflate": zlib.compress,
    "br": brotli,
    "zstd": zstd,
}


@pytest.mark.parametrize(
    ("named", "body"),
    [
        *((name, encode(TEXT)) for name, encode in ENCODED.items()),
        ("deflate", raw_deflate(TEXT)),
        ("GZip", gzipped(TEXT)),
        ("gzip", gzipped(TEXT[:100]) + gzipped(TEXT[100:])),
        ("gzip", gzipped(TEXT) + b"\0" * 30),
        ("zstd", zstd(TEXT[:100]) + zstd(TEXT[100:])),
        ("gzip, br", brotli(gzipped(TEXT))),
        ("gzip, identity", gzipped(TEXT)),
        # No encodings, and encodings that are named and are not there.
        ("identity", TEXT),
        ("utf-8", TEXT),
        ("", TEXT),
        (",,,", TEXT),
        *((name, TEXT) for name in ENCODED),
        ("gzip, br", TEXT),
        ("gzip," * 40, TEXT),
    ],
)
def test_a_body_is_read_whatever_it_is_said_to_be(named: str, body: bytes) -> None:
    assert decoded(named, body, MOST) == TEXT


@pytest.mark.parametrize("name", ENCODED)
def test_more_than_may_come_out_does_not(name: str) -> None:
    body = ENCODED[name](b" " * 10_000_000)
    assert len(body) < 50_000
    with pytest.raises(TooLarge):
        decoded(name, body, 1_000_000)
    assert decoded(name, body, 10_000_000) == b" " * 10_000_000


@pytest.mark.parametrize("name", ["br", "zstd"])
def test_a_body_that_breaks_off_stays_as_it_came(name: str) -> None:
    broken = ENCODED[name](TEXT)[:-3]
    assert decoded(name, broken, MOST) == broken


def test_a_thousand_empty_members_cost_no_more_than_that() -> None:
    body = gzipped(b"") * 2_000
    assert decoded("gzip", body, MOST) == body, "each would copy all that follow"


@given(
    st.sampled_from(sorted(ENCODED)),
    st.binary(max_size=2_000),
    st.lists(st.integers(0, 2_000), max_size=5),
    st.integers(0, 3_000),
)
def test_a_stream_comes_out_as_it_went_in_however_it_is_cut(
    name: str, data: bytes, cuts: list[int], most_bytes: int
) -> None:
    body = ENCODED[name](data)
    if len(data) > most_bytes:
        with pytest.raises(TooLarge):
            decoded(name, body, most_bytes)
        return
    assert decoded(name, body, most_bytes) == data
    if name in {"br", "zstd"}:
        with pytest.raises(Undecodable):
            stream_inflater(name)
        return
    inflater = stream_inflater(name)
    assert inflater is not None
    ends = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[start:end] for start, end in itertools.pairwise(ends)]
    assert b"".join(inflater.feed(piece, most_bytes) for piece in pieces) == data


@given(st.sampled_from(["gzip", "deflate", "br", "zstd", "gzip, br"]), st.binary(max_size=300))
def test_no_bytes_do_more_than_stay_as_they_came(named: str, body: bytes) -> None:
    try:
        assert isinstance(decoded(named, body, 1_000), bytes)
    except TooLarge:
        return


@pytest.mark.parametrize("named", ["", "identity", "utf-8"])
def test_a_plain_stream_is_passed_on(named: str) -> None:
    assert stream_inflater(named) is None


def test_a_stream_that_is_not_what_it_is_said_to_be() -> None:
    with pytest.raises(Undecodable):
        Inflater("gzip").feed(b"data: {}\n\n", MOST)
