"""Prompts -> a matrix that a model's first layer is multiplied with, on the device that trains.

Written out for vectors, kept sparse for the built-in embedder. Knows no labels and no models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch.utils.dlpack import from_dlpack

from batchroute.score.embed.builtin import HashedNgrams
from batchroute.score.embed.embedders import BUILTIN_DIMENSION, SHARED
from batchroute.score.embed.ngrams import BUCKETS
from batchroute.score.embed.product import load_dense
from batchroute.score.embed.surface import SURFACE
from batchroute.score.rater import bare_questions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Generator, Tensor

    from batchroute.job.spec import RouterSpec
    from batchroute.score.embed.builtin import Encoded
    from batchroute.types import Vectors

    Features: TypeAlias = "DenseFeatures | SparseFeatures"

TEXTS_AT_A_TIME = 64
ROUNDING = 1e-4  # of the mean square of the table


@dataclass(frozen=True, slots=True)
class DenseFeatures:
    """n embedded prompts: `matrix` [n, dimension] float32."""

    matrix: Tensor

    @property
    def dimension(self) -> int:
        return self.matrix.shape[1]

    def times(self, rows: Tensor, table: Tensor, noise: float, generator: Generator) -> Tensor:
        """[rows, width] products of some prompts' vectors with `table` [dimension, width].

        To every number of every vector Gaussian noise of standard deviation `noise` is added first, as in
        RouteLLM's training.
        """
        vectors = self.matrix[rows]
        if self.dimension <= table.shape[1]:
            drawn = torch.randn(vectors.shape, generator=generator, device=vectors.device)
            return (vectors + noise * drawn) @ table
        return _with_noise(vectors @ table, table, noise, generator)


@dataclass(frozen=True, slots=True)
class SparseFeatures:
    """n embedded prompts: vector i has values[offsets[i]:offsets[i + 1]] at the `ids` of the same places.

    `ids` are int32, `values` float32.
    """

    ids: Tensor
    values: Tensor
    offsets: Tensor
    dimension: int

    def times(self, rows: Tensor, table: Tensor, noise: float, generator: Generator) -> Tensor:
        """As of DenseFeatures."""
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        places = ranges(self.offsets[rows], lengths)
        ends = torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).to(self.ids.dtype)
        product: Tensor = torch.nn.functional.embedding_bag(
            self.ids[places],
            table,
            ends,
            mode="sum",
            per_sample_weights=self.values[places],
            include_last_offset=True,
        )
        return _with_noise(product, table, noise, generator)


def _with_noise(product: Tensor, table: Tensor, noise: float, generator: Generator) -> Tensor:
    """Noise on the vectors, drawn as what it becomes in the product: the same distribution, far fewer numbers.

    z ~ N(0, s^2 I) added to e adds T^T z ~ N(0, s^2 T^T T) to T^T e. With T^T T = L L^T (Cholesky) that is s L z',
    z' ~ N(0, I) of `width` numbers: 32 are drawn for a prompt in place of 262,000.
    """
    if not noise:
        return product
    drawn = torch.randn(product.shape, generator=generator, device=product.device)
    square = table.T @ table
    tiny = square.diagonal().mean() * ROUNDING + 1e-12  # or rounding could leave it without a root
    spread: Tensor = torch.linalg.cholesky(square + tiny * torch.eye(len(square), device=table.device))
    return product + noise * drawn @ spread.T


def ranges(starts: Tensor, lengths: Tensor) -> Tensor:
    """starts[0], starts[0] + 1, ... (lengths[0] of them), starts[1], ..."""
    first = torch.repeat_interleave(starts - (lengths.cumsum(0) - lengths), lengths)
    return first + torch.arange(len(first), device=starts.device)


def embed_prompts(
    prompts: Sequence[str], vectors: Vectors | None, router: RouterSpec, device: torch.device
) -> Features:
    """The prompts as the embedder of a [router] sees them; `vectors` [n, dim] where they are given."""
    if router.embedder.use == "builtin":
        return builtin_features(prompts, device)
    embed = load_dense(router.embedder, device)
    parts = [embed(batch) for batch in bare_questions(prompts, vectors).batches(router.batch_size)]
    # through dlpack, because a column's vectors lie in read-only Arrow memory
    return DenseFeatures(torch.cat([from_dlpack(part).to(device, torch.float32) for part in parts]))


def builtin_features(prompts: Sequence[str], device: torch.device) -> SparseFeatures:
    """The prompts as the built-in embedder sees them, what stands in both of its halves once in each."""
    embedder = HashedNgrams(torch.device("cpu"))
    keys, values, counts = [], [], []
    for start in range(0, len(prompts), TEXTS_AT_A_TIME):
        texts = prompts[start : start + TEXTS_AT_A_TIME]
        key, value = _entries(embedder.encode(texts))
        merged, place = torch.unique(key, return_inverse=True)
        keys.append((merged % BUILTIN_DIMENSION).int())
        values.append(torch.zeros(len(merged), dtype=value.dtype).index_add_(0, place, value).float())
        counts.append(torch.bincount(merged // BUILTIN_DIMENSION, minlength=len(texts)))
    offsets = torch.nn.functional.pad(torch.cat(counts).cumsum(0), (1, 0))
    return SparseFeatures(
        torch.cat(keys).to(device), torch.cat(values).to(device), offsets.to(device), BUILTIN_DIMENSION
    )


def _entries(encoded: Encoded) -> tuple[Tensor, Tensor]:
    """Text and number of every entry that is not 0, as text * BUILTIN_DIMENSION + number, and its value.

    What a multiple-choice text has stands once among the numbers of all texts and once among those of its kind.
    """
    texts = torch.arange(len(encoded.surface)) * BUILTIN_DIMENSION
    halves = torch.arange(2) * SHARED
    places = halves.unsqueeze(1) + 2 * BUCKETS + torch.arange(SURFACE)
    keys = [(texts.reshape(-1, 1, 1) + places).flatten()]
    values = [encoded.surface.flatten()]
    for kind, block in enumerate((encoded.chars, encoded.words)):
        sizes = block.offsets.diff()
        value = torch.repeat_interleave(1 / block.lengths, sizes)
        key = torch.repeat_interleave(texts, sizes) + kind * BUCKETS + block.ids % BUCKETS
        choice = block.ids >= BUCKETS
        keys += [key, key[choice] + SHARED]
        values += [value, value[choice]]
    return torch.cat(keys), torch.cat(values)
