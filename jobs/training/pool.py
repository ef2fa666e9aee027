"""The label files of a recipe -> one pool of prompts: what to learn for each, and how much it counts.

Knows nothing of features or models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batchroute.errors import InputFault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from batchroute.learn.labels.sides import Labels
    from batchroute.types import Floats
    from recipe import LabelSource


@dataclass(frozen=True, slots=True)
class Pool:
    """n labelled prompts of one or several files; entry i of each belongs to prompt i.

    `strong` and `weak` are the sides' scores, `target` is what is learnt. A domain's name holds its file's.
    """

    prompts: list[str]
    strong: Floats
    weak: Floats
    target: Floats
    weights: Floats
    files: NDArray[np.str_]
    groups: NDArray[np.str_]
    domains: NDArray[np.str_]

    @property
    def gain(self) -> Floats:
        """[n] what the strong side is better by, in [-1, 1]."""
        return self.strong - self.weak


def pool_sources(parts: Sequence[tuple[LabelSource, Labels]]) -> Pool:
    """All prompts of all sources, in their order. InputFault for a source's `without` that will not do."""
    pools = [_of_source(source, labels) for source, labels in parts]
    return Pool(
        prompts=[prompt for pool in pools for prompt in pool.prompts],
        strong=np.concatenate([pool.strong for pool in pools]),
        weak=np.concatenate([pool.weak for pool in pools]),
        target=np.concatenate([pool.target for pool in pools]),
        weights=np.concatenate([pool.weights for pool in pools]),
        files=np.concatenate([pool.files for pool in pools]),
        groups=np.concatenate([pool.groups for pool in pools]),
        domains=np.concatenate([pool.domains for pool in pools]),
    )


def balanced_weights(pool: Pool, balance: float) -> Floats:
    """[n] the pool's weights, so changed that a group of n prompts counts as n ** (1 - balance) of them."""
    _, member, size = np.unique(pool.groups, return_inverse=True, return_counts=True)
    weights: Floats = pool.weights * (size[member] / size.mean()) ** -balance
    return weights


def _of_source(source: LabelSource, labels: Labels) -> Pool:
    missing = sorted(set(source.without) - set(labels.domains))
    if missing:
        raise InputFault(f"{source.file}: without: no labelled prompt is of the domain {missing[0]!r}")
    wanted = [i for i, domain in enumerate(labels.domains) if domain not in source.without]
    if not wanted:
        raise InputFault(f"{source.file}: without: no labelled prompt is left")
    strong, weak = labels.strong[wanted], labels.weak[wanted]
    files = np.full(len(wanted), source.file)
    domains = np.array([f"{source.file}/{labels.domains[i]}" for i in wanted])
    groups = domains if source.by_domain else files
    return Pool(
        prompts=[labels.prompts[i] for i in wanted],
        strong=strong,
        weak=weak,
        target=strong - weak if source.target == "gain" else _difficulty(strong, weak, groups),
        weights=np.full(len(wanted), source.weight),
        files=files,
        groups=groups,
        domains=domains,
    )


def _difficulty(strong: Floats, weak: Floats, groups: NDArray[np.str_]) -> Floats:
    """[n] the share of failures, moved to the mean gain of its group."""
    _, member, size = np.unique(groups, return_inverse=True, return_counts=True)
    failures = 1 - (strong + weak) / 2
    level = np.bincount(member, strong - weak - failures) / size
    moved: Floats = failures + level[member]
    return moved
