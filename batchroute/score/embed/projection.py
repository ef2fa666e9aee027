"""Prompts -> their embedding times a matrix: what a router with a layer of its own needs of an embedder.

The counterpart, for several vectors at once, of `embed.fold`; the built-in embedder's vectors are not made here
either. In double precision, so that neither batches nor processors show in a score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch.utils.dlpack import from_dlpack

from batchroute.errors import ModelFault
from batchroute.score.embed.builtin import BUILTIN_DIMENSION, by_bucket, load_builtin
from batchroute.score.embed.choose import load_dense

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from batchroute.job.spec import EmbedderSpec
    from batchroute.score.embed.builtin import Encoded, HashedNgrams
    from batchroute.types import Questions, Vectors

TEXTS_AT_A_TIME = 64  # encoded together: their arrays stay near the cache, and long ones do not fill the memory


class Projection(Protocol):
    """W e for every prompt of a batch."""

    def __call__(self, questions: Questions) -> Tensor:
        """[n, rows of W] float64 on any device; the rows of refused questions may hold anything."""
        ...


@dataclass(frozen=True, slots=True)
class DenseProjection:
    """For vectors that are given or made elsewhere; `weights` [rows, dim] float64."""

    vectors: Callable[[Questions], Vectors | Tensor]
    weights: Tensor

    def __call__(self, questions: Questions) -> Tensor:
        matrix = self.vectors(questions)
        given, trained = matrix.shape[-1], self.weights.shape[1]
        if matrix.ndim != 2 or given != trained:
            raise ModelFault(f"the model was trained on vectors of {trained} numbers, not {given}")
        # through dlpack, because a column's vectors lie in read-only Arrow memory
        return from_dlpack(matrix).to(self.weights.device, torch.float64) @ self.weights.T


@dataclass(frozen=True, slots=True)
class NgramProjection:
    """For the built-in embedder; W `by_bucket`: `tables` [2][ids, rows], `surface` [2, SURFACE, rows]."""

    embedder: HashedNgrams
    tables: tuple[Tensor, Tensor]
    surface: Tensor

    def __call__(self, questions: Questions) -> Tensor:
        starts = range(0, max(1, len(questions.texts)), TEXTS_AT_A_TIME)
        texts = (questions.texts[start : start + TEXTS_AT_A_TIME] for start in starts)
        return torch.cat([self.project(self.embedder.encode(part)) for part in texts])

    def project(self, encoded: Encoded) -> Tensor:
        """[n, rows] float64; every text is summed by itself, so its neighbours cannot change it."""
        # a sum over the features and not a matrix product, whose order of adding may follow the batch
        total = (encoded.surface.unsqueeze(3) * self.surface).sum(dim=(1, 2))
        for block, table in zip((encoded.chars, encoded.words), self.tables, strict=True):
            sums = torch.nn.functional.embedding_bag(
                block.ids, table, block.offsets, mode="sum", include_last_offset=True
            )
            total = total + sums / block.lengths.unsqueeze(1)
        return total


def project(spec: EmbedderSpec, weights: Tensor, device: torch.device) -> Projection:
    """The embedder of a job and the matrix of a model, [rows, dim]; ModelFault where they do not fit."""
    weights = weights.to(device, torch.float64)
    if spec.use != "builtin":
        return DenseProjection(load_dense(spec, device), weights)
    if weights.shape[1] != BUILTIN_DIMENSION:
        raise ModelFault(
            f"the model reads vectors of {weights.shape[1]} numbers, `builtin` makes {BUILTIN_DIMENSION}; set "
            "[router.embedder] use to the embedder the model was trained on"
        )
    buckets, surface = by_bucket(weights)
    chars, words = buckets.permute(1, 2, 0).contiguous().unbind()
    return NgramProjection(load_builtin(device), (chars, words), surface.permute(1, 2, 0).contiguous())
