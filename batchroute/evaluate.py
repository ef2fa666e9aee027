"""Scores against labels: how much of the gap between two models a router recovers at every share sent strong.

Knows arrays of scores and outcomes; nothing of routers, files or prompts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from batchroute.types import Floats

FINE_GRID = 100


def quality_curve(scores: Floats, strong: Floats, weak: Floats, shares: Floats) -> Floats:
    """Mean quality when the given shares of the prompts, highest scores first, go to the strong model.

    `scores`, `strong`, `weak` [n]; tied scores are sent in equal parts, so a constant score is a random router.
    """
    order = np.argsort(-scores, kind="stable")
    _, first, size = np.unique(-scores[order], return_index=True, return_counts=True)
    gain = np.add.reduceat((strong - weak)[order], first) / size
    gained = np.concatenate((np.zeros(1), np.cumsum(np.repeat(gain, size))))
    curve: Floats = weak.mean() + np.interp(shares * len(scores), np.arange(len(gained)), gained) / len(scores)
    return curve


def apgr(scores: Floats, strong: Floats, weak: Floats, grid: int = FINE_GRID) -> float:
    """Average performance gap recovered (RouteLLM, Ong et al. 2024), over `grid` equal steps of the strong share.

    (mean quality over the shares - all weak) / (all strong - all weak); random is 0.5. NaN for equal sides.
    """
    shares = np.linspace(0, 1, grid + 1)
    gap = float(strong.mean() - weak.mean())
    if gap == 0:
        return float("nan")
    area = float(np.trapezoid(quality_curve(scores, strong, weak, shares), shares))
    return (area - float(weak.mean())) / gap
