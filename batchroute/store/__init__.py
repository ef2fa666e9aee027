"""The run directory: what is done, what it cost, and who may write.

    rows      the rows of a locked directory      journal   an append-only file of whole records
    parts     a journal -> a sealed Parquet part  scores    scores on disk, in input order
    identity  whose directory it is               directory a directory opened, or begun
    done      which rows need no more asking      unsealed  what a killed run left in its journals

Knows no network and no prices; decides nothing about a row.
"""
