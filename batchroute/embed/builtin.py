"""The built-in embedder: hashed n-grams and surface features, multiplied with a vector without being made.

Of its 131,000 numbers a prompt has a few hundred that are not 0, so each bucket carries one weight and a prompt's
product is a sum of looked-up numbers. Knows nothing of the models behind the vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load

from batchroute.ngrams import BUCKETS, Bags, char_bags, find_words, fold_case, lay_out, word_bags
from batchroute.surface import SURFACE, surface_features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from batchroute.types import Questions

BUILTIN_IDENTITY = "hashed-ngrams-1"
BUILTIN_DIMENSION = 2 * BUCKETS + SURFACE
BUILTIN_FILE = "hashed-ngrams-1.safetensors"
LONG_TEXT = (8192, 1024)  # n-grams of characters, of words
MOST_CHARS = 100_000  # of a text; what lies beyond is not read, so that one prompt cannot fill the memory
CHUNK_CHARS = 100_000  # hashed at a time: the arrays of a chunk stay near the cache
SURFACE_SCALE = 0.1  # surface features are about 1 wide, a single n-gram about 0.05


@dataclass(frozen=True, slots=True)
class Block:
    """One kind of n-gram of n texts: text i has ids[offsets[i]:offsets[i + 1]], its tf-idf vector lengths[i]."""

    ids: Tensor
    offsets: Tensor
    lengths: Tensor


@dataclass(frozen=True, slots=True)
class Encoded:
    """n texts as the built-in embedder sees them; `surface` [n, SURFACE] float64."""

    chars: Block
    words: Block
    surface: Tensor


@dataclass(frozen=True, slots=True)
class HashedNgrams:
    """The built-in embedder: tf-idf of hashed character and word n-grams, each of length 1, and surface features.

    `idf` [2, BUCKETS + 1] float64: characters, words; the last column (no n-gram) is zero; `squares` are theirs,
    which to square anew would be a tenth of the work on a batch of a few texts. Lengths are taken over
    occurrences, so that equal n-grams of a text need not be brought together; n-grams come back more and more in a
    long text, which is therefore shortened by sqrt(1 + n-grams / LONG_TEXT).
    """

    idf: Tensor
    squares: Tensor

    def encode(self, texts: Sequence[str]) -> Encoded:
        layout = lay_out([text[:MOST_CHARS] for text in texts])
        folded = fold_case(layout)
        words = find_words(folded, layout)
        surface = torch.from_numpy(surface_features(layout, words)) * SURFACE_SCALE
        return Encoded(
            chars=_block(char_bags(folded, layout), self.squares[0], LONG_TEXT[0]),
            words=_block(word_bags(folded, words), self.squares[1], LONG_TEXT[1]),
            surface=surface.to(self.idf.device),
        )

    def fold(self, vector: Tensor) -> FoldedNgrams:
        """The embedder's product with `vector` [BUILTIN_DIMENSION]: one weight per bucket."""
        vector = vector.to(self.idf.device, torch.float64)
        buckets = vector[: 2 * BUCKETS].reshape(2, BUCKETS)
        return FoldedNgrams(self, self.idf * torch.nn.functional.pad(buckets, (0, 1)), vector[2 * BUCKETS :])


@dataclass(frozen=True, slots=True)
class FoldedNgrams:
    """e . v for the built-in embedder; `buckets` [2, BUCKETS + 1] is idf times v."""

    embedder: HashedNgrams
    buckets: Tensor
    surface: Tensor

    def __call__(self, questions: Questions) -> Tensor:
        chunks = _chunks(questions.texts)
        return torch.cat([self.product(self.embedder.encode(questions.texts[chunk])) for chunk in chunks])

    def product(self, encoded: Encoded) -> Tensor:
        """[n] float64; every text is summed by itself, so its neighbours cannot change it."""
        total = (encoded.surface * self.surface).sum(dim=1)
        for block, weights in zip((encoded.chars, encoded.words), self.buckets, strict=True):
            total = total + bag_sums(weights, block.ids, block.offsets) / block.lengths
        return total


def _block(bags: Bags, squares: Tensor, long_text: int) -> Block:
    ids = torch.from_numpy(bags.ids).to(squares.device)
    offsets = torch.from_numpy(bags.offsets).to(squares.device)
    lengths = bag_sums(squares, ids, offsets).clamp_min(1.0) * (1 + offsets.diff() / long_text)
    return Block(ids, offsets, lengths.sqrt())


def bag_sums(weights: Tensor, ids: Tensor, offsets: Tensor) -> Tensor:
    """[n] sums of weights[ids] over n bags."""
    return torch.segment_reduce(weights.take(ids), "sum", offsets=offsets, initial=0)


def _chunks(texts: Sequence[str]) -> list[slice]:
    """Consecutive slices of about CHUNK_CHARS each, so that a batch of long texts takes no more memory."""
    chars = np.minimum(np.fromiter(map(len, texts), np.int64, len(texts)), MOST_CHARS)
    chunk = np.cumsum(chars) // CHUNK_CHARS
    edges = [0, *(np.flatnonzero(np.diff(chunk)) + 1).tolist(), len(texts)]
    return [slice(start, end) for start, end in pairwise(edges)]


def load_builtin(device: torch.device) -> HashedNgrams:
    """The embedder with the document frequencies that ship in the package."""
    stored = load(resources.files("batchroute").joinpath("models", BUILTIN_FILE).read_bytes())["idf"]
    idf = torch.nn.functional.pad(stored.double(), (0, 1)).to(device)
    return HashedNgrams(idf, idf.square())
