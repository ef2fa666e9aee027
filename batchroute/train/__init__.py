"""Labels -> a model directory that a job can name: the built-in model by its recipe.

pool      label files -> prompts, what to learn for each and how much it counts
recipe    a recipe -> its model, and what it is worth on domains it has not seen
"""

from __future__ import annotations

from batchroute.train.pool import Source
from batchroute.train.recipe import (
    Recipe,
    TrainReport,
    calibration_line,
    read_recipe,
    train_model,
    train_recipe,
)

__all__ = [
    "Recipe",
    "Source",
    "TrainReport",
    "calibration_line",
    "read_recipe",
    "train_model",
    "train_recipe",
]
