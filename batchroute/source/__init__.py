"""From the input files to chunks of rows: what to score of them, and the prompts to send.

    place     which files, in which order, under which names
    stream    a file of lines as bytes, unpacked           lines     bytes -> runs of lines
    jsonl     lines -> the fields a job needs              text      JSON as Python reads it
    parquet   files -> batches                             columns   batches -> the columns a job needs
    arrow     Arrow's types and values in our terms        keep      columns copied to the results
    asking    a row's values -> its question               template  prompts made of several columns
    recipe    which column means what                      chunk     a run of rows and its two readings
    open      an InputSpec -> a Source

Knows nothing of scores, endpoints or results.
"""

from __future__ import annotations

from batchroute.source.chunk import Chunk, Position
from batchroute.source.open import Source, open_source
from batchroute.source.place import Fingerprint, InputFile

__all__ = ["Chunk", "Fingerprint", "InputFile", "Position", "Source", "open_source"]
