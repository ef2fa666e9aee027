"""The statistics of quality: what a router recovers, and what can be promised of it.

    curves     scores and outcomes -> the curve, APGR, CPT; their intervals over prompts drawn again
    recovered  what of the gap a router recovers, with its interval, as reports have it
    ranks      the k-th highest of any number of scores
    sample     scores -> the rows that are asked on both sides
    shares     a job's scores -> the thresholds that send 100, 95, ... 0 % strong
    bound      a sample of bounded values -> whether their mean is shown to be at least zero, by betting
    kept       grades -> what ways of routing keep of the strong side's quality, with intervals
    graded     a sample's scores and grades -> the ways to route by each share of its job
    promise    the same -> the least share that is shown to keep a quality: `quality_threshold`
    watch      later rows that both sides were asked -> whether the promise still holds

Plain arrays in, values out. Knows no rows, no files and no models.
"""
