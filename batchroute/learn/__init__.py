"""Labels -> a router, and whether it is any good.

    labels/    outcomes, battles and pairs, checked
    train/     labels -> a model directory
    evaluate/  routers against labels: APGR, verdict

Asks no endpoint.
"""
