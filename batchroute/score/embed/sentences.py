"""Vectors of a sentence-transformers model, on the router's device.

The package is imported only where a job uses it; knows nothing of what is done with the vectors.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from batchroute.errors import ModelFault

if TYPE_CHECKING:
    from torch import Tensor

    from batchroute.types import Questions

TEXTS_AT_ONCE = 64  # through the network; the package sorts them by length, so little of that is padding
_READ_BYTES = 1 << 20  # of each end of a model's files stand for the whole file


@dataclass(frozen=True, slots=True)
class Sentences:
    """A loaded model; texts come in any order and length, each gets the vector it would get alone."""

    name: str
    model: Any

    def __call__(self, questions: Questions) -> Tensor:
        """[n, dim] float32 on the model's device; longer texts than the model reads are cut by it."""
        texts = [text.encode("utf-8", "replace").decode() for text in questions.texts]  # tokenizers want UTF-8
        with torch.inference_mode():
            vectors: Tensor = self.model.encode(
                texts, batch_size=TEXTS_AT_ONCE, convert_to_tensor=True, show_progress_bar=False
            )
        vectors = vectors.float()
        if not torch.isfinite(vectors).all():
            raise ModelFault(f"sentence-transformers: {self.name} gave NaN or infinite numbers")
        return vectors


def load_sentences(name: str, dimensions: int | None, device: torch.device) -> Sentences:
    """The model in the directory `name`, or of that name where it is in the local cache or can be downloaded.

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
    return Sentences(name, model.float().eval())


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
