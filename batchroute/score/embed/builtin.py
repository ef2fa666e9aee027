"""The built-in embedder: hashed n-grams and surface features, multiplied with a vector without being made.

Of its 262,000 numbers a prompt has a few hundred that are not 0, so each bucket carries one weight and a prompt's
product is a sum of looked-up numbers. What takes the time is to find the n-grams: a fifth each for the sorts of
characters, the words and the surface features, a tenth for the sum. Knows nothing of the models behind the vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch

from batchroute.score.embed.embedders import SHARED
from batchroute.score.embed.ngrams import BUCKETS, Bags, char_bags, find_words, fold_case, lay_out, word_bags
from batchroute.score.embed.surface import IS_CHOICE, surface_features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from batchroute.types import Questions

MOST_CHARS = 100_000  # of a text that are read, so that one prompt cannot fill the memory
CHUNK_CHARS = 100_000  # hashed at a time: the arrays of a chunk stay near the cache
SURFACE_SCALE = 0.2  # surface features are about 1 wide, a single n-gram about 0.05


@dataclass(frozen=True, slots=True)
class Block:
    """One kind of n-gram of n texts: text i has ids[offsets[i]:offsets[i + 1]], each of weight 1 / lengths[i].

    A multiple-choice text's ids are BUCKETS higher than its buckets.
    """

    ids: Tensor
    offsets: Tensor
    lengths: Tensor


@dataclass(frozen=True, slots=True)
class Encoded:
    """n texts as the built-in embedder sees them; `surface` [n, 2, SURFACE] float64, [:, 1] for choices alone."""

    chars: Block
    words: Block
    surface: Tensor


@dataclass(frozen=True, slots=True)
class HashedNgrams:
    """The built-in embedder: which hashed n-grams of characters and of words a text has, and surface features.

    e = (c / |c|, w / |w|, s) and the same once more, or zeros for a text that is no multiple-choice question: c
    and w [BUCKETS] are 1 where the text has such an n-gram. So a model learns what holds for all prompts and what
    is otherwise in multiple choice (Daume 2007, "Frustratingly easy domain adaptation").
    """

    device: torch.device

    def encode(self, texts: Sequence[str]) -> Encoded:
        layout = lay_out([text[:MOST_CHARS] for text in texts])
        folded = fold_case(layout)
        words = find_words(folded, layout)
        surface = surface_features(layout, words) * SURFACE_SCALE
        choice = surface[:, IS_CHOICE] > 0
        both = np.stack((surface, surface * choice[:, np.newaxis]), axis=1)
        return Encoded(
            chars=self._block(char_bags(folded, layout), choice),
            words=self._block(word_bags(words), choice),
            surface=torch.from_numpy(both).to(self.device),
        )

    def fold(self, vector: Tensor) -> FoldedNgrams:
        """The embedder's product with `vector` [BUILTIN_DIMENSION]: one weight per bucket and kind of text."""
        halves = vector.to(self.device, torch.float64).reshape(2, SHARED)
        shared, choice = halves[:, : 2 * BUCKETS].reshape(2, 2, BUCKETS)
        # ids from BUCKETS on are those of multiple-choice texts, for which both halves of the vector count
        return FoldedNgrams(self, torch.cat((shared, shared + choice), dim=1), halves[:, 2 * BUCKETS :])

    def _block(self, bags: Bags, choice: NDArray[np.bool_]) -> Block:
        sizes = np.diff(bags.offsets)
        ids = bags.ids + np.repeat(choice * BUCKETS, sizes)
        lengths = np.sqrt(np.maximum(sizes, 1))
        return Block(*(torch.from_numpy(array).to(self.device) for array in (ids, bags.offsets, lengths)))


@dataclass(frozen=True, slots=True)
class FoldedNgrams:
    """e . v for the built-in embedder; `buckets` [2, 2 * BUCKETS]: characters, words; free text, then choices."""

    embedder: HashedNgrams
    buckets: Tensor
    surface: Tensor

    def __call__(self, questions: Questions) -> Tensor:
        chunks = _chunks(questions.texts)
        return torch.cat([self.product(self.embedder.encode(questions.texts[chunk])) for chunk in chunks])

    def product(self, encoded: Encoded) -> Tensor:
        """[n] float64; every text is summed by itself, so its neighbours cannot change it."""
        total = (encoded.surface * self.surface).sum(dim=(1, 2))
        for block, weights in zip((encoded.chars, encoded.words), self.buckets, strict=True):
            sums = torch.segment_reduce(
                weights.index_select(0, block.ids), "sum", offsets=block.offsets, initial=0
            )
            total = total + sums / block.lengths
        return total


def _chunks(texts: Sequence[str]) -> list[slice]:
    """Consecutive slices of about CHUNK_CHARS each, so that a batch of long texts takes no more memory."""
    chars = np.minimum(np.fromiter(map(len, texts), np.int64, len(texts)), MOST_CHARS)
    chunk = np.cumsum(chars) // CHUNK_CHARS
    edges = [0, *(np.flatnonzero(np.diff(chunk)) + 1).tolist(), len(texts)]
    return [slice(start, end) for start, end in pairwise(edges)]
