"""Shares of a run's limits that workers hold for a while: leases.

    messages  what a worker says at each renewal, and what it is granted
    held      the worker's side: which grants it takes, and until when they count
    limits    the limits that are shared, and how many workers they keep busy

Pure values and decisions on times that the caller reads; knows no network, no files and no rows.
"""
