"""[router.embedder] as its files and its settings tell: the name that stands for it, and what does not fit.

Knows neither torch, which `product` multiplies with, nor the model that reads the vectors.
"""

from __future__ import annotations

import hashlib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from batchroute.errors import ModelFault
from batchroute.score.embed.ngrams import BUCKETS
from batchroute.score.embed.surface import SURFACE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from batchroute.job.spec import EmbedderSpec

BUILTIN_IDENTITY = "hashed-ngrams-2"
SHARED = 2 * BUCKETS + SURFACE  # numbers that every text has: characters, words, surface
BUILTIN_DIMENSION = 2 * SHARED
# Lengths of the vectors of well-known models; another model's length is known from its first answer.
KNOWN_DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}
_NUMBERS = "buif"  # numpy's kinds of whole and real numbers, truth values among them
_READ_BYTES = 1 << 20  # of each end of a model's files stand for the whole file


def check_embedder(spec: EmbedderSpec, text_dim: int) -> None:
    """ModelFault where the embedder cannot be loaded, or makes other vectors than of `text_dim` numbers.

    As far as that is known before it is loaded.
    """
    dimension = BUILTIN_DIMENSION if spec.use == "builtin" else spec.dimensions
    if spec.use == "openai":
        dimension = dimension or KNOWN_DIMENSIONS.get(spec.model or "")
    if dimension not in {None, text_dim}:
        raise ModelFault(
            f"the model reads vectors of {text_dim} numbers, `{spec.use}` makes {dimension}; set "
            "[router.embedder] to the embedder the model was trained on"
        )
    if spec.use == "sentence-transformers" and find_spec("sentence_transformers") is None:
        raise ModelFault(
            "the embedder `sentence-transformers` needs a package that is not installed: "
            "pip install 'batchroute[sentence-transformers]'"
        )
    if ":" in spec.use:
        import_class(spec.use, "embed")


def identity(spec: EmbedderSpec) -> str:
    """The embedder's name in a model's card and a run directory; ModelFault where its own directory is gone."""
    if spec.use == "builtin":
        return BUILTIN_IDENTITY
    model = sentences_identity(spec.model) if spec.use == "sentence-transformers" and spec.model else spec.model
    return ":".join(str(part) for part in (spec.use, model, spec.dimensions) if part is not None)


def import_class(use: str, method: str) -> Any:
    """An object of the class `package.module:Class`, made without arguments; it must have `method`."""
    named = import_named(use)
    try:
        made = named()
    except TypeError as fault:
        raise ModelFault(f"{use}: cannot be made without arguments: {fault}") from fault
    if not callable(getattr(made, method, None)):
        raise ModelFault(f"{use}: the class needs a method `{method}`")
    return made


def import_named(use: str) -> Any:
    """What `package.module:name` names."""
    module, _, name = use.partition(":")
    if module.endswith(".py"):
        raise ModelFault(f'{use}: names a file; write "{module.removesuffix(".py")}:{name}"')
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as missing:
        where = "it is looked for among what is installed, on PYTHONPATH, and beside the job file"
        raise ModelFault(f"{use}: cannot be imported: {missing}; {where}") from missing
    except (ImportError, AttributeError, SyntaxError) as fault:
        raise ModelFault(f"{use}: cannot be imported: {fault}") from fault


def numbers_in(given: Any, whose: str) -> NDArray[Any]:
    """What the method of a user's class gave, as an array; a tensor may be on a GPU and have a gradient.

    ModelFault, naming `whose` it is, where there are no numbers in it.
    """
    try:
        array = given.detach().double().cpu().numpy() if hasattr(given, "detach") else np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as fault:  # ragged lists, lists of tensors
        raise ModelFault(f"{whose} gave no array of numbers: {fault}") from fault
    if array.dtype.kind not in _NUMBERS:
        raise ModelFault(f"{whose} gave an array of {array.dtype}, not of numbers")
    return array


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
