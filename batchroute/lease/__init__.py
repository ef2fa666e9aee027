"""Shares of a run's limits that workers hold for a while: leases.

    messages  what a worker says at each renewal, and what it is granted
    held      the worker's side: which grants it takes, and until when they count
    limits    the limits that are shared, and how many workers they keep busy

    limiter   the driver's side: renewals in, grants out; leases, epochs, the end of workers
    lane      one lane's limits: requests and tokens a minute, slots, the first answer
    money     ceilings: how much each worker may take
    queue     which shard is worked on by whom, and which is next

    book      what workers may be using of a limit, at most, until it is known better
    rate      requests a minute, so that a server never counts one too many
    shares    fair targets
    seats     who may hold a share of a small lane
    findings  what the workers found out about an endpoint, for all of them
    learnt    its pauses and its speed, by their 429s

Pure values and decisions on times that the caller reads; knows no network, no files and no rows.
"""
