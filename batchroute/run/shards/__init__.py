"""A run over shards of its input: what one process does of it.

    alone      one of N equal processes, with no driver: --shard I/N
    share      what such a process may use: parsed, and divided
    process    a process that works on shards: its lanes, its progress, how it ends
    queue      where its shards come from            engine     shards asked, one after the other
    work       a shard opened and scored             opened     one shard while it is asked
    books      shards opened and closed, as files and as money
    threshold  the threshold of the whole run        money      what all shards have taken of the limit
    finish     what became of the shards; the report of the last process
    whole      what needs the whole input in one process
    likely     how many shards there will be, for `check`

Hands out no shards and leases no limits: that is a driver's (run/workers).
"""
