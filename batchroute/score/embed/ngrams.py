"""Texts -> sets of hashed n-grams: characters (3 and 4 bytes) and words (1 and 2), over a whole batch at once.

About fifteen array passes over the bytes of all texts and a sort of each, never a step per n-gram; the result for
a text depends on its bytes alone. Bucket numbers are part of the built-in embedder's format. Knows nothing of
weights or labels.
"""

# The texts "Hi 2" and "no", laid out with a space on either side and folded (letters in lower case, digits as 0):
#
#     place   0 1 2 3 4 5  6 7 8 9
#     byte    _ h i _ 0 _  _ n o _          starts [0, 6], ends [6, 10]
#
# Characters: a window of 3 and one of 4 bytes begins at every place, read as a number of four bytes. Its hash is
# that number times an odd constant, its bucket the highest 16 bits. "Hi 2" has _hi hi_ i_0 _0_ and _hi_ hi_0 i_0_;
# windows that reach beyond a text's end, as _0__, are replaced by the text's first one, which is there anyway.
#
# Words: runs of letters and digits, found where the mask of such bytes changes: [1, 3) hi, [4, 5) 0, [7, 9) no.
# With a base b, the prefix sums S[k] = sum of byte[i] * b^i over i < k give any word's hash in two look-ups:
# (S[end] - S[start]) / b^start = h + i * b for "hi", wherever it stands. b is odd, so 1 / b exists modulo 2^64.
#
# A sort of each text's buckets then puts equal ones side by side, and the first of each run is what is left.

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Bytes: TypeAlias = NDArray[np.uint8]
    Ids: TypeAlias = NDArray[np.int64]
    Hashes: TypeAlias = NDArray[np.uint64]

BUCKET_BITS = 16
BUCKETS = 1 << BUCKET_BITS

# Odd multipliers (the golden ratio, primes of xxHash) of multiply-and-shift hashing.
CHAR3_MULTIPLIER = np.uint32(0x9E3779B1)
CHAR4_MULTIPLIER = np.uint32(0x85EBCA77)
WORD_MULTIPLIER = np.uint64(0xC2B2AE3D27D4EB4F)
BIGRAM_MULTIPLIER = np.uint64(0x165667B19E3779F9)
# Polynomial hashes are taken modulo 2^64, where an odd base has an inverse.
POLYNOMIAL_BASE = 0x9E3779B97F4A7C15
POLYNOMIAL_INVERSE = pow(POLYNOMIAL_BASE, -1, 1 << 64)


@dataclass(frozen=True, slots=True)
class Layout:
    """The UTF-8 bytes of n texts, each between two spaces: text i is data[starts[i]:ends[i]].

    An empty text is laid out as one space, so that each has a window of three bytes.
    """

    data: Bytes
    starts: Ids
    ends: Ids

    @property
    def size(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a layout, word j at data[starts[j]:ends[j]]; text i has those from first[i] to first[i + 1].

    `hashes` [words] are well mixed and depend on a word's folded bytes alone.
    """

    starts: Ids
    ends: Ids
    first: Ids
    hashes: Hashes


@dataclass(frozen=True, slots=True)
class Bags:
    """The buckets that n texts fill, each once and in order: text i has ids[offsets[i]:offsets[i + 1]]."""

    ids: Ids
    offsets: Ids


def lay_out(texts: Sequence[str]) -> Layout:
    """Lone surrogates become the three bytes they would have in UTF-8."""
    parts = [text.encode("utf-8", "surrogatepass") or b" " for text in texts]
    ends = np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)) + 2)
    starts = np.concatenate((np.zeros(1, np.int64), ends))[:-1]
    blob = b" " + b"  ".join(parts) + b"    "  # the last windows may look beyond the last text
    return Layout(np.frombuffer(blob, np.uint8), starts, ends)


def fold_case(layout: Layout) -> Bytes:
    """ASCII letters in lower case, every digit as 0, white space and control characters as a space."""
    return _fold_table()[layout.data]


def find_words(folded: Bytes, layout: Layout) -> Words:
    """Runs of letters, digits and bytes beyond ASCII; the spaces between texts keep them apart."""
    inside = _word_table()[folded]
    edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    starts, ends = edges[::2], edges[1::2]
    first = np.searchsorted(starts, np.append(layout.starts, layout.size))
    return Words(starts, ends, first, _span_hashes(folded, starts, ends))


def char_bags(folded: Bytes, layout: Layout) -> Bags:
    """Every window of three and of four bytes inside a text and its two spaces."""
    windows = np.ndarray((layout.size,), np.dtype("<u4"), buffer=folded, strides=(1,))
    shift = np.uint32(32 - BUCKET_BITS)
    buckets = np.empty((layout.size, 2), np.uint16)
    buckets[:, 0] = ((windows << np.uint32(8)) * CHAR3_MULTIPLIER) >> shift
    buckets[:, 1] = (windows * CHAR4_MULTIPLIER) >> shift
    first = buckets[layout.starts, 0]  # stands in for windows that reach beyond the text
    for before_end in (1, 2):
        buckets[layout.ends - before_end] = first[:, np.newaxis]
    buckets[layout.ends - 3, 1] = first
    return _bags(buckets, np.append(layout.starts, layout.size))


def word_bags(words: Words) -> Bags:
    """Every word, and every word with the one after it."""
    hashes = words.hashes
    shift = np.uint64(64 - BUCKET_BITS)
    buckets = np.empty((len(hashes), 2), np.uint16)
    buckets[:, 0] = (hashes * WORD_MULTIPLIER) >> shift
    buckets[:-1, 1] = ((hashes[:-1] * BIGRAM_MULTIPLIER + hashes[1:]) * WORD_MULTIPLIER) >> shift
    last = words.first[1:] - 1
    last = last[last >= words.first[:-1]]
    buckets[last, 1] = buckets[last, 0]  # the last word of a text has none after it
    return _bags(buckets, words.first)


def _bags(buckets: NDArray[np.uint16], first: Ids) -> Bags:
    """Rows first[i] to first[i + 1] of `buckets` [rows, 2], which is sorted in place, are text i's."""
    flat, edges = buckets.ravel(), 2 * first
    # one sort of all, with a text's number in the key, takes ten times as long
    for start, end in pairwise(edges.tolist()):
        flat[start:end].sort()
    is_first = np.empty(len(flat) + 1, np.bool_)
    np.not_equal(flat[1:], flat[:-1], out=is_first[1:-1])
    is_first[edges] = True
    firsts = np.flatnonzero(is_first[:-1])
    return Bags(flat[firsts].astype(np.int64), np.searchsorted(firsts, edges))


def _span_hashes(data: Bytes, starts: Ids, ends: Ids) -> Hashes:
    """Polynomial hashes of data[starts[j]:ends[j]] from prefix sums, mixed so that their high bits are good."""
    size_bits = len(data).bit_length()
    prefix = np.zeros(len(data) + 1, np.uint64)
    np.cumsum(data * _powers(POLYNOMIAL_BASE, size_bits)[: len(data)], out=prefix[1:])
    hashes = (prefix[ends] - prefix[starts]) * _powers(POLYNOMIAL_INVERSE, size_bits)[starts]
    hashes = (hashes ^ (hashes >> np.uint64(29))) * WORD_MULTIPLIER
    return hashes ^ (hashes >> np.uint64(32))


@lru_cache(maxsize=2)  # of the base and its inverse: chunk after chunk is of the same size
def _powers(base: int, size_bits: int) -> Hashes:
    powers = np.full(1 << size_bits, base, np.uint64)
    powers[0] = 1
    return np.multiply.accumulate(powers)


@cache
def _fold_table() -> Bytes:
    table = np.arange(256, dtype=np.uint8)
    table[:33] = table[127] = ord(" ")
    table[ord("A") : ord("Z") + 1] += ord("a") - ord("A")
    table[ord("0") : ord("9") + 1] = ord("0")
    return table


@cache
def _word_table() -> NDArray[np.bool_]:
    table = np.arange(256) >= 128
    table[ord("0")] = True
    table[ord("a") : ord("z") + 1] = True
    return table
