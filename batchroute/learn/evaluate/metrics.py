"""Scores against labels: how much of the gap between two models a router recovers at every share sent strong.

The definitions are RouteLLM's (Ong et al. 2024, "RouteLLM: Learning to Route LLMs with Preference Data"). APGR is
the area between a router's curve and all-weak, over that between all-strong and all-weak; CPT(x) is the share of
strong calls at which x of the gap is recovered. Knows arrays of scores and outcomes; nothing of routers or files.
"""

# Four prompts, in the order of their scores; the strong side is right on all of them:
#
#     score        0.9  0.6  0.4  0.1
#     weak side      0    1    0    1      all weak 0.5, all strong 1.0: a gap of 0.5
#     gain           1    0    1    0
#
#     share strong   0    1/4   1/2   3/4   1
#     mean quality  0.50  0.75  0.75  1.00  1.00
#
# The area under the curve is (0.625 + 0.75 + 0.875 + 1) / 4 = 0.8125, so APGR = (0.8125 - 0.5) / 0.5 = 0.625. An
# oracle's order has the gains 1, 1, 0, 0 and 0.75; a constant score is a straight line from 0.5 to 1, and 0.5.
# CPT(50 %): half of the gap, a quality of 0.75, is first reached at a share of 25 %.

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from batchroute.types import Floats

FINE_GRID = 100
COARSE_GRID = 10  # RouteLLM's
SHARES = np.linspace(0, 1, FINE_GRID + 1)  # of the prompts, sent strong


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
    """Average performance gap recovered, over `grid` equal steps of the strong share.

    (mean quality over the shares - all weak) / (all strong - all weak); random is 0.5. NaN for equal sides.
    """
    return _recovered(scores, strong, weak, np.linspace(0, 1, grid + 1))


def coarse_apgr(scores: Floats, strong: Floats, weak: Floats) -> float:
    """APGR as RouteLLM's own evaluation takes it: at thresholds that are the scores' deciles, both ends included.

    The share that a threshold sends strong is counted, not assumed, which is what ties and small samples change.
    """
    thresholds = np.quantile(scores, np.linspace(0, 1, COARSE_GRID + 1)[:-1])
    reached = np.searchsorted(np.sort(scores), thresholds, side="left")
    shares = np.unique(np.concatenate((np.array([0.0, 1.0]), 1 - reached / len(scores))))
    return _recovered(scores, strong, weak, shares)


def _recovered(scores: Floats, strong: Floats, weak: Floats, shares: Floats) -> float:
    gap = float(strong.mean() - weak.mean())
    if gap == 0:
        return float("nan")
    area = float(np.trapezoid(quality_curve(scores, strong, weak, shares), shares))
    return (area - float(weak.mean())) / gap


def share_reaching(curve: Floats, quality: float, shares: Floats) -> float:
    """The least strong share at which a curve over `shares` reaches `quality`; NaN where it never does."""
    above = curve >= quality
    place = int(above.argmax())
    if not above[place]:
        return float("nan")
    if place == 0:
        return float(shares[0])
    below, step = curve[place - 1], curve[place] - curve[place - 1]
    return float(shares[place - 1] + (quality - below) / step * (shares[place] - shares[place - 1]))
