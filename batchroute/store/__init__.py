"""The run directory: what is done, what it cost, and who may write.

    files     whole and durable, or not at all    layout    every name in the directory
    identity  job.toml: whose directory it is     directory a directory opened, or begun
    columns   the result columns, by format       rows      which rows are done, and the bill
    journal   an append-only file of records      parts     a journal -> a sealed Parquet part
    unsealed  what is not in a part yet           scores    scores on disk, in input order
    ledger    money that is unconfirmed           tally     done rows, their bill and tokens
    lock      whose the directory is              pilot     answers beside a row's own side, and verdicts
    shards    how the input is cut             sharded  a directory that many processes have open
    ended     what came of a shard, or did not shared   job.toml, where many processes write it
    epoch     which writer's time it is        embeddings   what was paid for vectors
    unconfirmed   money on no row's bill       shard_scores scores of all shards, or some

Knows no network and no prices; decides nothing about a row.
"""
