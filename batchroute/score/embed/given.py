"""Vectors that the user provides: a column of the input, or a class of their own."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from batchroute.errors import ModelFault

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from batchroute.types import Embedder, Questions, Vectors

_NUMBERS = "buif"  # numpy's kinds of whole and real numbers, truth values among them


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


@dataclass(frozen=True, slots=True)
class CustomVectors:
    use: str
    embedder: Embedder

    def __call__(self, questions: Questions) -> Vectors:
        vectors = numbers_in(self.embedder.embed(questions.texts), f"{self.use}: `embed`").astype(np.float32)
        if vectors.ndim != 2 or len(vectors) != len(questions.texts):
            expected = f"[{len(questions.texts)}, dim]"
            raise ModelFault(f"{self.use}: `embed` gave an array of shape {list(vectors.shape)}, not {expected}")
        if not np.isfinite(vectors).all():
            raise ModelFault(f"{self.use}: `embed` gave NaN or infinite numbers")
        return vectors
