"""A router of your own: any class with `score`, named in the job file as "module:Class".

    batchroute run jobs/custom-router.toml

It is imported as Python imports any module, from an installed package or a folder on PYTHONPATH, and found beside
the job file, too. It is made without arguments, once, and asked in batches; a prompt's score must not depend on
its neighbours in the batch.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

DEMANDING = re.compile(r"\b(prove|derive|debug|refactor|optimi[sz]e|compare|why|step by step)\b", re.IGNORECASE)
CODE_OR_MATHS = re.compile(r"```|\bdef |\bclass |[=<>]{2}|\\[a-z]+|\d\s*[-+*/^]\s*\d")


class Keywords:
    """Prompts that ask for an argument, or bring code or formulas, go strong first; of those, the longest ones."""

    def score(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """[n] scores in [0, 1]; 1 is strong."""
        return np.array([self._score(prompt) for prompt in prompts], np.float64)

    def _score(self, prompt: str) -> float:
        signs = bool(DEMANDING.search(prompt)) + bool(CODE_OR_MATHS.search(prompt))
        length = len(prompt) / (len(prompt) + 1000)
        return (signs + length) / 3
