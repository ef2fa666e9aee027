"""Prompts -> the dot product of their embedding with one vector: an embedder and a folded model, put together.

The built-in embedder's vectors are never made: of its 131,000 numbers a prompt has a few hundred that are not 0,
so each bucket carries one weight and a prompt's product is a sum of looked-up numbers. Knows nothing of the
models behind the vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module, resources
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from safetensors.torch import load
from torch.utils.dlpack import from_dlpack

from batchroute.errors import ModelFault
from batchroute.ngrams import BUCKETS, Bags, char_bags, find_words, fold_case, lay_out, word_bags
from batchroute.surface import SURFACE, surface_features

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from batchroute.job import EmbedderSpec
    from batchroute.types import Embedder, Questions, Vectors

BUILTIN_IDENTITY = "hashed-ngrams-1"
BUILTIN_DIMENSION = 2 * BUCKETS + SURFACE
BUILTIN_FILE = "hashed-ngrams-1.safetensors"
LONG_TEXT = (8192, 1024)  # n-grams of characters, of words
MOST_CHARS = 100_000  # of a text; what lies beyond is not read, so that one prompt cannot fill the memory
CHUNK_CHARS = 100_000  # hashed at a time: the arrays of a chunk stay near the cache
SURFACE_SCALE = 0.1  # surface features are about 1 wide, a single n-gram about 0.05


class Product(Protocol):
    """e . v for every prompt of a batch."""

    def __call__(self, questions: Questions) -> Tensor:
        """[n] float64 on any device; the rows of refused questions may hold anything."""
        ...


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

    `idf` [2, BUCKETS + 1] float64: characters, words; the last column (no n-gram) is zero. Lengths are taken over
    occurrences, so that equal n-grams of a text need not be brought together; n-grams come back more and more in a
    long text, which is therefore shortened by sqrt(1 + n-grams / LONG_TEXT).
    """

    idf: Tensor

    def encode(self, texts: Sequence[str]) -> Encoded:
        layout = lay_out([text[:MOST_CHARS] for text in texts])
        folded = fold_case(layout)
        words = find_words(folded, layout)
        surface = torch.from_numpy(surface_features(layout, words)) * SURFACE_SCALE
        return Encoded(
            chars=_block(char_bags(folded, layout), self.idf[0], LONG_TEXT[0]),
            words=_block(word_bags(folded, words), self.idf[1], LONG_TEXT[1]),
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


@dataclass(frozen=True, slots=True)
class DenseProduct:
    """e . v for vectors that are given, or come from a custom embedder; `vector` [dim] float32.

    In single precision: scores hold to 1e-6 while logits are about 1, as they are for embeddings of length 1.
    """

    vectors: Callable[[Questions], Vectors]
    vector: Tensor

    def __call__(self, questions: Questions) -> Tensor:
        matrix = self.vectors(questions)
        if matrix.ndim != 2 or matrix.shape[1] != len(self.vector):
            raise ModelFault(
                f"the model was trained on vectors of {len(self.vector)} numbers, not {matrix.shape[1:]}"
            )
        # through dlpack, because a column's vectors lie in read-only Arrow memory
        return torch.mv(from_dlpack(matrix).to(self.vector.device), self.vector).double()


def _block(bags: Bags, idf: Tensor, long_text: int) -> Block:
    ids = torch.from_numpy(bags.ids).to(idf.device)
    offsets = torch.from_numpy(bags.offsets).to(idf.device)
    squares = bag_sums(idf.square(), ids, offsets).clamp_min(1.0) * (1 + offsets.diff() / long_text)
    return Block(ids, offsets, squares.sqrt())


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
    idf = torch.nn.functional.pad(stored.double(), (0, 1))
    return HashedNgrams(idf.to(device))


def identity(spec: EmbedderSpec) -> str:
    """What stands for this embedder in a model's card and in a run directory."""
    if spec.use == "builtin":
        return BUILTIN_IDENTITY
    return spec.use if spec.model is None else f"{spec.use}:{spec.model}"


def fold(spec: EmbedderSpec, vector: Tensor, device: torch.device) -> Product:
    """The embedder of a job, folded with a model's vector [text_dim]."""
    if spec.use == "builtin":
        if len(vector) != BUILTIN_DIMENSION:
            raise ModelFault(
                f"the model reads vectors of {len(vector)} numbers, `builtin` makes {BUILTIN_DIMENSION}; set "
                "[router.embedder] use to the embedder the model was trained on"
            )
        return load_builtin(device).fold(vector)
    return DenseProduct(dense_vectors(spec), vector.to(device, torch.float32))


def dense_vectors(spec: EmbedderSpec) -> Callable[[Questions], Vectors]:
    """What brings the vectors [n, dim] of a batch, for every embedder whose vectors are written out."""
    if spec.use == "column":
        return _given_vectors
    if ":" in spec.use:
        return _CustomVectors(spec.use, import_class(spec.use, "embed"))
    raise ModelFault(
        f"the embedder {spec.use!r} is not in this version; use builtin, column or package.module:Class"
    )


def import_class(use: str, method: str) -> Any:
    """An object of the class `package.module:Class`, made without arguments; it must have `method`."""
    module, _, name = use.partition(":")
    try:
        made = getattr(import_module(module), name)()
    except (ImportError, AttributeError, TypeError) as fault:
        raise ModelFault(f"{use}: cannot be imported and made without arguments: {fault}") from fault
    if not callable(getattr(made, method, None)):
        raise ModelFault(f"{use}: the class needs a method `{method}`")
    return made


def _given_vectors(questions: Questions) -> Vectors:
    if questions.vectors is None:
        raise ModelFault("the embedder `column` needs [router.embedder] column: the input brought no vectors")
    return questions.vectors


@dataclass(frozen=True, slots=True)
class _CustomVectors:
    use: str
    embedder: Embedder

    def __call__(self, questions: Questions) -> Vectors:
        vectors = np.asarray(self.embedder.embed(questions.texts), np.float32)
        if vectors.ndim != 2 or len(vectors) != len(questions.texts):
            expected = f"[{len(questions.texts)}, dim]"
            raise ModelFault(f"{self.use}: `embed` gave an array of shape {list(vectors.shape)}, not {expected}")
        if not np.isfinite(vectors).all():
            raise ModelFault(f"{self.use}: `embed` gave NaN or infinite numbers")
        return vectors
