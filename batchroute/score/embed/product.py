"""What an embedder folded with a model is: the dot product of every prompt's vector with one vector.

Knows neither where vectors come from nor the models behind the one they are multiplied with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch.utils.dlpack import from_dlpack

from batchroute.errors import ModelFault

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from batchroute.types import Questions, Vectors


class Product(Protocol):
    """e . v for every prompt of a batch."""

    def __call__(self, questions: Questions) -> Tensor:
        """[n] float64 on any device; the rows of refused questions may hold anything."""
        ...


@dataclass(frozen=True, slots=True)
class DenseProduct:
    """e . v for vectors that are given, or come from a custom embedder; `vector` [dim] float32.

    In single precision: scores hold to 1e-6 while logits are about 1, as they are for embeddings of length 1.
    """

    vectors: Callable[[Questions], Vectors | Tensor]
    vector: Tensor

    def __call__(self, questions: Questions) -> Tensor:
        matrix = self.vectors(questions)
        if matrix.ndim != 2 or matrix.shape[1] != len(self.vector):
            raise ModelFault(
                f"the model was trained on vectors of {len(self.vector)} numbers, the embedder gave "
                f"{matrix.shape[-1]}; set [router.embedder] to the embedder the model was trained on"
            )
        # through dlpack, because a column's vectors lie in read-only Arrow memory
        return torch.mv(from_dlpack(matrix).to(self.vector.device), self.vector).double()
