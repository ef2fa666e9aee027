"""[router.embedder] -> its product with a model's vector, and the name that stands for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from batchroute.errors import ModelFault
from batchroute.score.embed.builtin import BUILTIN_DIMENSION, BUILTIN_IDENTITY, load_builtin
from batchroute.score.embed.given import CustomVectors, given_vectors, import_class
from batchroute.score.embed.product import DenseProduct
from batchroute.score.embed.sentences import load_sentences, sentences_identity

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from batchroute.job.spec import EmbedderSpec
    from batchroute.score.embed.product import Product
    from batchroute.types import Questions, Vectors


# Lengths of the vectors of models that are often meant; one that is not here shows its own with its first answer.
KNOWN_DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}


def identity(spec: EmbedderSpec) -> str:
    """What stands for this embedder in a model's card and in a run directory; ModelFault where it is not there."""
    if spec.use == "builtin":
        return BUILTIN_IDENTITY
    model = sentences_identity(spec.model) if spec.use == "sentence-transformers" and spec.model else spec.model
    return ":".join(str(part) for part in (spec.use, model, spec.dimensions) if part is not None)


def fold(spec: EmbedderSpec, vector: Tensor, device: torch.device) -> Product:
    """The embedder of a job, folded with a model's vector [text_dim]."""
    made = BUILTIN_DIMENSION if spec.use == "builtin" else spec.dimensions
    if spec.use == "openai":
        made = made or KNOWN_DIMENSIONS.get(spec.model or "")
    if made not in {None, len(vector)}:
        raise ModelFault(
            f"the model reads vectors of {len(vector)} numbers, `{spec.use}` makes {made}; set "
            "[router.embedder] to the embedder the model was trained on"
        )
    if spec.use == "builtin":
        return load_builtin(device).fold(vector)
    return DenseProduct(load_dense(spec, device), vector.to(device, torch.float32))


def load_dense(spec: EmbedderSpec, device: torch.device) -> Callable[[Questions], Vectors | Tensor]:
    """What gives questions their vectors [n, dim] float32, for every embedder but `builtin`.

    Those of `openai`, like a column's, have to stand in the questions already: `vectors` asks for them.
    """
    if spec.use in {"column", "openai"}:
        return given_vectors
    if spec.use == "sentence-transformers":
        return load_sentences(spec.model or "", spec.dimensions, device)
    return CustomVectors(spec.use, import_class(spec.use, "embed"))
