"""Labels -> a model directory that a job can name: the built-in model by its recipe."""

from __future__ import annotations

from batchroute.train.recipe import (
    Recipe,
    TrainReport,
    read_recipe,
    train_model,
    train_recipe,
    write_document_frequencies,
)

__all__ = [
    "Recipe",
    "TrainReport",
    "read_recipe",
    "train_model",
    "train_recipe",
    "write_document_frequencies",
]
