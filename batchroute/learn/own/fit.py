"""Prompts and gains -> an MF model of one dimension on the built-in embedder, from a few hundred prompts.

The gain, what the strong side's answer is better by, is predicted as the logit of a model that is there already,
times a factor, and a correction: v = a * start + u, by ridge regression with an intercept. A factor is penalised
least, weights of n-grams most, because a few hundred prompts say much about the first and little about the others.
Of the n-grams those are learnt from that tell the most pairs of prompts apart: one that is rare says little of
other prompts, and one of the instructions that all of them begin with says nothing.

There are fewer prompts than features, so the ridge is solved in its dual form (Saunders, Gammerman and Vovk 1998):

    K = X X^T,   (K + r I) alpha = gain,   v = X^T alpha      X centred, its columns scaled by their prior spread

and the penalty r is the one with the least squared error of the prompts left out one at a time (Allen 1974), which
follows from the solution with all of them.
"""

# Leaving one out. One feature, three prompts, penalty r = 2:
#
#     x          -1     0     1        K has one eigenvalue that is not 0: 2, with the vector (-1, 0, 1) / sqrt(2)
#     gain      -.3     0    .3        alpha = gain / (2 + 2) = -.075, 0, .075
#
# What is not explained of the third is r * alpha = .15. Its own share in its prediction is h = 1/3 for the mean
# and 1/2 * 2 / (2 + 2) = 1/4 for the slope, so without it the error is .15 / (1 - 7/12) = .36. The long way: the
# other two have the means x = -.5, gain = -.15 and the slope .15 / (.5 + 2) = .06, and predict -.15 + 1.5 * .06 =
# -.06 for it, which is .36 less than it has.

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from batchroute.learn.own.parts import FOLDS
from batchroute.learn.train.features import builtin_features
from batchroute.learn.train.gain import LOGIT_OF_GAIN, pair_parameters
from batchroute.score.embed.builtin import SURFACE_SCALE
from batchroute.score.embed.embedders import BUILTIN_DIMENSION, SHARED
from batchroute.score.embed.ngrams import BUCKETS
from batchroute.score.embed.surface import FEATURES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from batchroute.learn.train.fit import Parameters
    from batchroute.types import Floats

    Rows = NDArray[np.int64]

# How much of a prediction's variance the logit of the start, surface features and n-grams have before anything is
# learnt, in the sample at hand: n-grams differ by little where all prompts begin with the same instructions.
# Chosen on pilots of 600 to 2,000 rows drawn from label tables; half or twice of one costs less than .01 of APGR.
VARIANCES = np.array((1.0, 2.0, 0.4))
PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
MOST_FEATURES = 8192
LEAST_VARIANCE = 1e-18  # below it the prompts are one and the same
LEAST_FREEDOM = 1e-6  # 1 - h of a prompt that only its own gain predicts
CONSTANT = 2 * BUCKETS + FEATURES.index("constant")


@dataclass(frozen=True, slots=True)
class Design:
    """n prompts as they are learnt from: `matrix` [n, 1 + columns], logits of `start`, then `features`, scaled.

    The weight of the first column is a factor of `start` [BUILTIN_DIMENSION]; that of any other, times its
    `scale`, is the weight of its feature. `kernel` [n, n] is the centred matrix times its own transpose.
    """

    start: Floats
    features: Rows
    scale: Floats
    matrix: Floats
    kernel: Floats


def make_design(texts: Sequence[str], start: Floats) -> Design:
    """Of the texts that a router reads and the vector of the model to start from, [BUILTIN_DIMENSION]."""
    embedded = builtin_features(texts, torch.device("cpu"))
    ids, values = embedded.ids.numpy(), embedded.values.double().numpy()
    rows = np.repeat(np.arange(len(texts)), embedded.offsets.diff().numpy())
    is_ngram = np.arange(BUILTIN_DIMENSION) % SHARED < 2 * BUCKETS
    with_it = np.bincount(ids, minlength=BUILTIN_DIMENSION)
    pairs = np.where(is_ngram, with_it * (len(texts) - with_it), len(texts) ** 2)
    features = np.sort(np.argsort(-pairs, kind="stable")[:MOST_FEATURES])
    column = np.zeros(BUILTIN_DIMENSION, np.int64)
    column[features] = np.arange(1, 1 + len(features))
    matrix = np.zeros((len(texts), 1 + len(features)))
    matrix[rows, column[ids]] = values
    matrix[:, 0] = np.bincount(rows, values * start[ids], len(texts))
    kind = np.concatenate((np.zeros(1, np.int64), np.where(is_ngram[features], 2, 1)))
    variance = np.bincount(kind, matrix.var(axis=0), len(VARIANCES))
    differs = variance > LEAST_VARIANCE
    scale = np.sqrt(np.divide(VARIANCES, variance, out=np.zeros(len(VARIANCES)), where=differs))[kind]
    matrix *= scale
    centred = matrix - matrix.mean(axis=0)
    return Design(scale[0] * start, features, scale[1:], matrix, centred @ centred.T)


def out_of_fold(design: Design, gain: Floats, folds: Rows) -> Floats:
    """[n] scores in (0, 1) of each prompt by a model that was learnt from the other folds alone.

    They are ranks within the fold: the models of two folds differ in their levels, and a fold of low gains has
    been left out of a model that expects high ones.
    """
    scores = np.empty(len(gain))
    for fold in range(FOLDS):
        inside = folds == fold
        predicted = design.matrix[inside] @ _weights(design, gain, np.flatnonzero(~inside))
        ordered = np.sort(predicted)
        below, up_to = (np.searchsorted(ordered, predicted, side) for side in ("left", "right"))
        scores[inside] = (below + up_to) / (2 * len(predicted))
    return scores


def fit_own(design: Design, gain: Floats) -> Parameters:
    """The model learnt from all prompts; `gain` [n] in [-1, 1]. Its score is near (1 + gain) / 2 of a prompt."""
    weights = _weights(design, gain, np.arange(len(gain)))
    vector = weights[0] * design.start
    vector[design.features] += weights[1:] * design.scale
    intercept = gain.mean() - (design.matrix @ weights).mean()
    vector[CONSTANT] += intercept / SURFACE_SCALE
    return pair_parameters(torch.from_numpy(LOGIT_OF_GAIN * vector))


def _weights(design: Design, gain: Floats, rows: Rows) -> Floats:
    """[1 + columns] learnt from some prompts, at the penalty under which the others predict each of them best."""
    kernel, target = design.kernel[np.ix_(rows, rows)], gain[rows] - gain[rows].mean()
    means = kernel.mean(axis=0)
    values, vectors = np.linalg.eigh(kernel - means - means[:, np.newaxis] + means.mean())
    values = np.maximum(values, 0)  # rounding leaves some a little below
    along = vectors.T @ target
    squares = vectors**2
    best, least = np.zeros(len(rows)), np.inf
    for penalty in PENALTIES:
        alpha = vectors @ (along / (values + penalty))
        own_share = squares @ (values / (values + penalty)) + 1 / len(rows)
        error = float(np.square(penalty * alpha / np.maximum(1 - own_share, LEAST_FREEDOM)).mean())
        if error < least:
            best, least = alpha, error
    weights: Floats = design.matrix[rows].T @ best
    return weights
