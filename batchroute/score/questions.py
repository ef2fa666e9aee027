"""Texts as the columns that a scorer reads, and such columns cut into batches.

Knows arrays; nothing of models, so that who only asks for scores need not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from batchroute.types import Questions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchroute.types import Vectors


def bare_questions(texts: Sequence[str], vectors: Vectors | None = None) -> Questions:
    """Texts that belong to no input row; `vectors` [n, dim] are theirs."""
    count = len(texts)
    return Questions(
        texts=list(texts),
        ids=[None] * count,
        forced=[None] * count,
        refused=np.zeros(count, np.bool_),
        chars=np.fromiter(map(len, texts), np.int64, count),
        vectors=vectors,
    )


def in_batches(questions: Questions, batch_size: int) -> Iterator[Questions]:
    """Consecutive parts of up to `batch_size` rows; `vectors` are sliced, not copied."""
    for start in range(0, len(questions.texts), batch_size):
        rows = slice(start, start + batch_size)
        yield Questions(
            texts=questions.texts[rows],
            ids=questions.ids[rows],
            forced=questions.forced[rows],
            refused=questions.refused[rows],
            chars=questions.chars[rows],
            vectors=None if questions.vectors is None else questions.vectors[rows],
        )
