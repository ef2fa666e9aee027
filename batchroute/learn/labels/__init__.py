"""Label files -> how well models answered prompts.

    files        Parquet, JSONL, CSV -> checked rows of one of three forms: outcomes, battles, pairs
    sides        rows -> the scores of a strong and a weak side, prompt by prompt
    comparisons  rows -> which of two models answered a prompt better, for any number of models

Knows what can be wrong with labels; nothing of features or models.
"""
