"""What a 200 of an embeddings API holds: vectors in the order of the request, as base64 or as numbers."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

import numpy as np

from batchroute.send.classify import Answer, malformed, read_usage
from batchroute.types import Completion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchroute.types import Vectors


def read_vectors(parsed: dict[str, Any]) -> Answer:
    """An ok answer with `vectors` [n, dim], or a malformed one that says what is wrong with them."""
    try:
        vectors = _matrix(_in_order(parsed.get("data")))
    except ValueError as fault:
        return malformed(str(fault), parsed)
    return Answer(verdict="ok", vectors=vectors, completion=Completion(usage=read_usage(parsed.get("usage"))))


def _in_order(data: Any) -> list[Any]:
    """The embeddings by their index; where none is given they stand in their order."""
    if not isinstance(data, list) or not data or not all(isinstance(item, dict) for item in data):
        raise ValueError("has no vectors")
    placed = [(item.get("index", place), item.get("embedding")) for place, item in enumerate(data)]
    if [index for index, _ in placed] == list(range(len(placed))):
        return [embedding for _, embedding in placed]
    by_index = {index: embedding for index, embedding in placed if isinstance(index, int)}
    if by_index.keys() != set(range(len(placed))):
        raise ValueError(f"numbers its {len(placed)} vectors otherwise than 0 to {len(placed) - 1}")
    return [by_index[index] for index in range(len(placed))]


def _matrix(embeddings: Sequence[Any]) -> Vectors:
    rows = _decoded(embeddings) if isinstance(embeddings[0], str) else _numbers(embeddings)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise ValueError("has vectors of different lengths")
    if not np.isfinite(rows).all():
        raise ValueError("has a vector with NaN or infinite numbers")
    return rows


def _decoded(embeddings: Sequence[Any]) -> Vectors:
    """Little-endian float32, as OpenAI packs them."""
    try:
        packed = [base64.b64decode(embedding, validate=True) for embedding in embeddings]
    except (TypeError, binascii.Error) as fault:
        raise ValueError(f"has a vector that is not base64 ({fault})") from fault
    if len({len(row) for row in packed}) > 1 or len(packed[0]) % 4:
        raise ValueError("has vectors of different lengths")
    vectors: Vectors = np.frombuffer(b"".join(packed), "<f4").reshape(len(packed), -1)
    return vectors


def _numbers(embeddings: Sequence[Any]) -> Vectors:
    try:
        with np.errstate(over="ignore"):  # it becomes infinite, which is refused
            vectors: Vectors = np.array(embeddings, np.float32)
    except (TypeError, ValueError) as fault:
        raise ValueError("has vectors of different lengths, or that are no numbers") from fault
    return vectors
