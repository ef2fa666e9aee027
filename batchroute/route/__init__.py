"""Scores -> endpoints: the routing rule, thresholds, forecasts of cost, and moves to the weak side.

    sides       scores -> sides, a part at a time   threshold  the threshold of an exact share
    forecast/   tokens, money and time beforehand   downgrade  rows that move before a budget is used up
    next        what comes after an answer

Sends nothing and loads no model.
"""
