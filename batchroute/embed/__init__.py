"""Prompts -> the dot product of their embedding with one vector: an embedder and a folded model, put together.

    product   what that is, and vectors that are multiplied as they come
    builtin   hashed n-grams, whose vectors are never made
    given     vectors of a column, or of a user's class
    sentences vectors of a sentence-transformers model
    choose    [router.embedder] -> its product

Knows nothing of the models behind the vector.
"""

from __future__ import annotations

from batchroute.embed.builtin import (
    BUILTIN_DIMENSION,
    BUILTIN_IDENTITY,
    MOST_CHARS,
    SHARED,
    SURFACE_SCALE,
    Block,
    Encoded,
    HashedNgrams,
    by_bucket,
    load_builtin,
)
from batchroute.embed.choose import fold, identity, load_dense
from batchroute.embed.given import import_class, numbers_in
from batchroute.embed.product import DenseProduct, Product

__all__ = [
    "BUILTIN_DIMENSION",
    "BUILTIN_IDENTITY",
    "MOST_CHARS",
    "SHARED",
    "SURFACE_SCALE",
    "Block",
    "DenseProduct",
    "Encoded",
    "HashedNgrams",
    "Product",
    "by_bucket",
    "fold",
    "identity",
    "import_class",
    "load_builtin",
    "load_dense",
    "numbers_in",
]
