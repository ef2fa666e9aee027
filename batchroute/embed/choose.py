"""[router.embedder] -> its product with a model's vector, and the name that stands for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from batchroute.embed.builtin import BUILTIN_DIMENSION, BUILTIN_IDENTITY, load_builtin
from batchroute.embed.given import CustomVectors, given_vectors, import_class
from batchroute.embed.product import DenseProduct
from batchroute.errors import ModelFault

if TYPE_CHECKING:
    from torch import Tensor

    from batchroute.embed.product import Product
    from batchroute.job import EmbedderSpec


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
    dense = vector.to(device, torch.float32)
    if spec.use == "column":
        return DenseProduct(given_vectors, dense)
    if ":" in spec.use:
        return DenseProduct(CustomVectors(spec.use, import_class(spec.use, "embed")), dense)
    raise ModelFault(
        f"the embedder {spec.use!r} is not in this version; use builtin, column or package.module:Class"
    )
