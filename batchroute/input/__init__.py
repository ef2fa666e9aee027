"""Files -> chunks of rows, from any place.

    open     the job's input as a `Source`       place    where it lies: local, s3, gs, hf
    parquet, jsonl                               readers, chunk by chunk, from any position
    chunk    rows that are read together         columns, recipe, template, asking   columns -> chat messages
    keep     a row's kept columns as bytes       lines, stream, text, arrow          bytes -> lines -> values

Knows nothing of scores, endpoints or results.
"""
