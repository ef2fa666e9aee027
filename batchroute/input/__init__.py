"""Files -> chunks of rows, from any place.

    open      the job's input as a `Source`        files    which files it is: local, s3, gs, hf
    growing   what of a file that is still being written belongs to a run
    look      what text must show before any row is asked; names   the column that was meant
    mistaken  what a file is that was taken for something else
    file      one of them: bytes, fingerprint      stream, unpack   its bytes in order, gzip and zstd
    forms     how a file's rows are written: a `Framing` and a `Decoder`
    split     bytes -> blocks of records, as a `Framing` says: lines, elements of an array, delimited (CSV)
    records   a block of them as rows, decoded by   objects (the fields of JSON), delimited (cells)
    chunk     rows that are read together          ahead    those to come, looked at before
    parquet   row groups -> rows                   arrow    the types of columns
    row       a row's values -> what is sent, or its refusal; template   those of several columns
    keep      a row's kept columns as bytes        text   JSON as Python reads it
    media     which parts of messages are no text
    cut       the input as shards; marks   where rows of plain JSON lines begin

Knows nothing of scores, endpoints or results.
"""
