"""Labels -> a model directory that a job can name.

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
from batchroute.train.recipe import Recipe, TrainReport, read_recipe, train_recipe, write_document_frequencies

__all__ = [
    "Epoch",
    "Recipe",
    "TrainReport",
    "Trained",
    "read_recipe",
    "train_model",
    "train_recipe",
    "write_document_frequencies",
]
