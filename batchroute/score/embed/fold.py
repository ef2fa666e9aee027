"""[router.embedder] -> its product with a model's vector, and the name that stands for the embedder.

All that a router needs of an embedding e is e . v for one vector v (`Checkpoint.folded` says why), so an embedder
is loaded together with v: the built-in one then never makes e at all. Knows nothing of the model behind v.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch.utils.dlpack import from_dlpack

from batchroute.errors import ModelFault
from batchroute.score.embed.builtin import BUILTIN_DIMENSION, BUILTIN_IDENTITY, HashedNgrams
from batchroute.score.embed.given import CustomVectors, given_vectors, import_class
from batchroute.score.embed.sentences import load_sentences, sentences_identity

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from torch import Tensor

    from batchroute.job.spec import EmbedderSpec
    from batchroute.types import Questions, Vectors

    Embed: TypeAlias = "Callable[[Questions], Vectors | Tensor]"  # [n, dim] float32

# Lengths of the vectors of well-known models; another model's length is known from its first answer.
KNOWN_DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}


class Product(Protocol):
    """e . v for every prompt of a batch."""

    def __call__(self, questions: Questions) -> Tensor:
        """[n] float64 on any device; the rows of refused questions may hold anything."""
        ...


@dataclass(frozen=True, slots=True)
class DenseProduct:
    """e . v for vectors that are made before they are multiplied; `vector` [dim] float32.

    In single precision: scores hold to 1e-6 while logits are about 1, as they are for embeddings of length 1.
    """

    embed: Embed
    vector: Tensor

    def __call__(self, questions: Questions) -> Tensor:
        matrix = self.embed(questions)
        if matrix.ndim != 2 or matrix.shape[1] != len(self.vector):
            raise ModelFault(
                f"the model was trained on vectors of {len(self.vector)} numbers, the embedder gave "
                f"{matrix.shape[-1]}; set [router.embedder] to the embedder the model was trained on"
            )
        # through dlpack, because a column's vectors lie in read-only Arrow memory
        return torch.mv(from_dlpack(matrix).to(self.vector.device), self.vector).double()


def fold(spec: EmbedderSpec, vector: Tensor, device: torch.device) -> Product:
    """The embedder of a job, folded with a model's vector [text_dim]; ModelFault where the lengths differ."""
    dimension = BUILTIN_DIMENSION if spec.use == "builtin" else spec.dimensions
    if spec.use == "openai":
        dimension = dimension or KNOWN_DIMENSIONS.get(spec.model or "")
    if dimension not in {None, len(vector)}:
        raise ModelFault(
            f"the model reads vectors of {len(vector)} numbers, `{spec.use}` makes {dimension}; set "
            "[router.embedder] to the embedder the model was trained on"
        )
    if spec.use == "builtin":
        return HashedNgrams(device).fold(vector)
    return DenseProduct(load_dense(spec, device), vector.to(device, torch.float32))


def load_dense(spec: EmbedderSpec, device: torch.device) -> Embed:
    """What gives questions their vectors, for every embedder but `builtin`.

    Those of `openai`, like a column's, have to stand in the questions already: `score/api` asks for them.
    """
    if spec.use in {"column", "openai"}:
        return given_vectors
    if spec.use == "sentence-transformers":
        return load_sentences(spec.model or "", spec.dimensions, device)
    return CustomVectors(spec.use, import_class(spec.use, "embed"))


def identity(spec: EmbedderSpec) -> str:
    """The embedder's name in a model's card and a run directory; ModelFault where its own directory is gone."""
    if spec.use == "builtin":
        return BUILTIN_IDENTITY
    model = sentences_identity(spec.model) if spec.use == "sentence-transformers" and spec.model else spec.model
    return ":".join(str(part) for part in (spec.use, model, spec.dimensions) if part is not None)
