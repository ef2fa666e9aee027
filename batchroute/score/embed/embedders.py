"""[router.embedder] -> vectors, or their product with a model's vector; and the name that stands for the embedder.

All that a router needs of an embedding e is e . v for one vector v (`Checkpoint.folded` says why), so an embedder
is loaded together with v: the built-in one then never makes e at all. The others give vectors: of a column or an
API, of a sentence-transformers model, of a user's class. Knows nothing of the model behind v.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.dlpack import from_dlpack

from batchroute.errors import ModelFault
from batchroute.score.embed.builtin import BUILTIN_DIMENSION, BUILTIN_IDENTITY, HashedNgrams

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from numpy.typing import NDArray
    from torch import Tensor

    from batchroute.job.spec import EmbedderSpec
    from batchroute.types import Embedder, Questions, Vectors

    Embed: TypeAlias = "Callable[[Questions], Vectors | Tensor]"  # [n, dim] float32
    # e . v of every question, [n] float64 on any device; the rows of refused questions may hold anything.
    Product: TypeAlias = Callable[[Questions], Tensor]

# Lengths of the vectors of well-known models; another model's length is known from its first answer.
KNOWN_DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}
_NUMBERS = "buif"  # numpy's kinds of whole and real numbers, truth values among them
TEXTS_AT_ONCE = 64  # through the network; the package sorts them by length, so little of that is padding
_READ_BYTES = 1 << 20  # of each end of a model's files stand for the whole file


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
    return partial(custom_vectors, spec.use, import_class(spec.use, "embed"))


def identity(spec: EmbedderSpec) -> str:
    """The embedder's name in a model's card and a run directory; ModelFault where its own directory is gone."""
    if spec.use == "builtin":
        return BUILTIN_IDENTITY
    model = sentences_identity(spec.model) if spec.use == "sentence-transformers" and spec.model else spec.model
    return ":".join(str(part) for part in (spec.use, model, spec.dimensions) if part is not None)


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


def numbers_in(given: Any, whose: str) -> NDArray[Any]:
    """What the method of a user's class gave, as an array; a tensor may be on a GPU and have a gradient.

    ModelFault, naming `whose` it is, where there are no numbers in it.
    """
    try:
        array = given.detach().double().cpu().numpy() if isinstance(given, torch.Tensor) else np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as fault:  # ragged lists, lists of tensors
        raise ModelFault(f"{whose} gave no array of numbers: {fault}") from fault
    if array.dtype.kind not in _NUMBERS:
        raise ModelFault(f"{whose} gave an array of {array.dtype}, not of numbers")
    return array


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

    The package is imported only where a job uses it.

    ModelFault where the package or the model is missing.
    """
    try:
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - not everywhere, and slow
    except ImportError as fault:
        raise ModelFault(
            "the embedder `sentence-transformers` needs a package that is not installed: "
            "pip install 'batchroute[sentence-transformers]'"
        ) from fault
    try:
        model = SentenceTransformer(name, device=str(device), truncate_dim=dimensions)
    except (OSError, ValueError, RuntimeError, KeyError) as fault:
        reason = next(iter(str(fault).splitlines()), type(fault).__name__)
        raise ModelFault(f"router.embedder.model: {name} cannot be loaded: {reason}") from fault
    return partial(sentence_vectors, name, model.float().eval())


def sentences_identity(name: str) -> str:
    """A name as it is; a directory by what is in it, so that it may be moved or copied."""
    folder = Path(name)
    if not folder.is_absolute():
        return name
    if not folder.is_dir():
        raise ModelFault(f"router.embedder.model: {name}: there is no such model directory")
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "README.md"):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder).as_posix()} {size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(_READ_BYTES))
            file.seek(max(0, size - _READ_BYTES))
            digest.update(file.read(_READ_BYTES))
    return digest.hexdigest()[:16]
