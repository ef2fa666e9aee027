"""Labels -> a model directory that a job can name.

    pool      the label files of a recipe -> what to learn for each prompt, and how much it counts
    recipe    the built-in model: several sources, ridge regression of the gain
    split     prompts to learn from, to stop by, held out
    features  prompts -> a matrix, dense or sparse, on the device that trains
    contests  the models that can be trained: mf, mlp
    fit       mini-batches, Adam, early stopping
    gain      a pair on the built-in embedder, solved for
    build     label files -> a model directory
    terminal  progress, and what came of it

Knows nothing of jobs, endpoints or runs.
"""

from __future__ import annotations

from batchroute.train.build import Trained, train_model
from batchroute.train.fit import Epoch
from batchroute.train.pool import Source
from batchroute.train.recipe import Recipe, TrainReport, calibration_line, read_recipe, train_recipe

__all__ = [
    "Epoch",
    "Recipe",
    "Source",
    "TrainReport",
    "Trained",
    "calibration_line",
    "read_recipe",
    "train_model",
    "train_recipe",
]
