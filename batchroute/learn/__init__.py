"""Labels -> a router, and whether it is any good.

    labels/    outcomes, battles and pairs, checked
    train/     labels -> a model directory
    own/       the graded rows of a pilot -> a router of the job's own, if it is better
    evaluate/  routers against labels: APGR, verdict

Asks no endpoint.
"""
