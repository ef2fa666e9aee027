"""[router.embedder] -> vectors, or their product with a model's vector.

All that a router needs of an embedding e is e . v for one vector v (`Checkpoint.folded` says why), so an embedder
is loaded together with v: the built-in one then never makes e at all. The others give vectors: of a column or an
API, of a sentence-transformers model, of a user's class. Knows nothing of the model behind v.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.dlpack import from_dlpack

from batchroute.errors import ModelFault
from batchroute.score.embed.builtin import HashedNgrams
from batchroute.score.embed.embedders import check_embedder, import_class, numbers_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from torch import Tensor

    from batchroute.job.spec import EmbedderSpec
    from batchroute.types import Embedder, Questions, Vectors

    Embed: TypeAlias = "Callable[[Questions], Vectors | Tensor]"  # [n, dim] float32
    # e . v of every question, [n] float64 on any device; the rows of refused questions may hold anything.
    Product: TypeAlias = Callable[[Questions], Tensor]

TEXTS_AT_ONCE = 64  # through the network; the package sorts them by length, so little of that is padding


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
    check_embedder(spec, len(vector))
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
    return partial(custom_vectors, spec.use, import_class(spec.use, "embed"))


def given_vectors(questions: Questions) -> Vectors:
    if questions.vectors is None:
        raise ModelFault(
            "the embedder reads vectors, but the questions have none; name them in [router.embedder] column"
        )
    return questions.vectors


def custom_vectors(use: str, embedder: Embedder, questions: Questions) -> Vectors:
    """[n, dim] what an object of the user's class `use` makes of the texts."""
    vectors = numbers_in(embedder.embed(questions.texts), f"{use}: `embed`").astype(np.float32)
    if vectors.ndim != 2 or len(vectors) != len(questions.texts):
        expected = f"[{len(questions.texts)}, dim]"
        raise ModelFault(f"{use}: `embed` gave an array of shape {list(vectors.shape)}, not {expected}")
    if not np.isfinite(vectors).all():
        raise ModelFault(f"{use}: `embed` gave NaN or infinite numbers")
    return vectors


def sentence_vectors(name: str, model: Any, questions: Questions) -> Tensor:
    """[n, dim] float32 on the model's device; longer texts than the model reads are cut by it.

    Texts come in any order and length, each gets the vector it would get alone.
    """
    texts = [text.encode("utf-8", "replace").decode() for text in questions.texts]  # tokenizers want UTF-8
    with torch.inference_mode():
        vectors: Tensor = model.encode(
            texts, batch_size=TEXTS_AT_ONCE, convert_to_tensor=True, show_progress_bar=False
        )
    vectors = vectors.float()
    if not torch.isfinite(vectors).all():
        raise ModelFault(f"sentence-transformers: {name} gave NaN or infinite numbers")
    return vectors


def load_sentences(name: str, dimensions: int | None, device: torch.device) -> Embed:
    """The model in the directory `name`, or of that name where it is in the local cache or can be downloaded.

    The package is there: `check_embedder` has looked. ModelFault where the model is missing.
    """
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - not everywhere, and slow

    try:
        model = SentenceTransformer(name, device=str(device), truncate_dim=dimensions)
    except (OSError, ValueError, RuntimeError, KeyError) as fault:
        reason = next(iter(str(fault).splitlines()), type(fault).__name__)
        raise ModelFault(f"router.embedder.model: {name} cannot be loaded: {reason}") from fault
    return partial(sentence_vectors, name, model.float().eval())
