"""Files -> chunks of rows, from any place.

    open      the job's input as a `Source`        files    which files it is: local, s3, gs, hf
    growing   what of a file that is still being written belongs to a run
    look      what lines must show before any row is asked; names   the column that was meant
    file      one of them: bytes, fingerprint      unpack   gzip and zstd
    chunk     rows that are read together          parquet, jsonl   readers, chunk by chunk, from any position
    row       a row's values -> what is sent, or its refusal; template   those of several columns
    keep      a row's kept columns as bytes        lines, text, arrow   bytes -> lines -> values
    media     which parts of messages are no text

Knows nothing of scores, endpoints or results.
"""
