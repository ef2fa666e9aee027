"""The statistics of quality: what a router recovers, and what can be promised of it.

    curves  scores and outcomes -> the curve, APGR, CPT; their intervals over prompts drawn again

Plain arrays in, values out. Knows no rows, no files and no models.
"""
