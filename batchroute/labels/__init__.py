"""Label files -> how well models answered prompts.

    files        Parquet, JSONL, CSV -> checked rows of one of three forms: outcomes, battles, pairs
    sides        rows -> the scores of a strong and a weak side, prompt by prompt
    comparisons  rows -> which of two models answered a prompt better, for any number of models

Knows what can be wrong with labels; nothing of features or models.
"""

from __future__ import annotations

from batchroute.labels.comparisons import Comparisons, between_all, between_sides
from batchroute.labels.files import LabelFile, read_label_file
from batchroute.labels.sides import Labels, choose_sides, merged_labels, read_labels, side_labels

__all__ = [
    "Comparisons",
    "LabelFile",
    "Labels",
    "between_all",
    "between_sides",
    "choose_sides",
    "merged_labels",
    "read_label_file",
    "read_labels",
    "side_labels",
]
