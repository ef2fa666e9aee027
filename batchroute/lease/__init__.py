"""Shares of a run's limits that workers hold for a while: leases.

    messages  what a worker says at each renewal, and what it is granted

Pure values and decisions on times that the caller reads; knows no network, no files and no rows.
"""
