"""Files -> chunks of rows, from any place.

    open      the job's input as a `Source`        files    which files it is: local, s3, gs, hf
    growing   what of a file that is still being written belongs to a run
    look      what lines must show before any row is asked; names   the column that was meant
    file      one of them: bytes, fingerprint      stream, unpack   its bytes in order, gzip and zstd
    split     bytes -> blocks of records, as a `Framing` says: lines
    records   a block of them as rows              objects   the fields of a JSON object
    chunk     rows that are read together          parquet   row groups -> rows; arrow   its types
    row       a row's values -> what is sent, or its refusal; template   those of several columns
    keep      a row's kept columns as bytes        text   JSON as Python reads it
    media     which parts of messages are no text

Knows nothing of scores, endpoints or results.
"""
