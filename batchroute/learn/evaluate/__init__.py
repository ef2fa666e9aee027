"""Routers against labels: how much of the gap between two models each recovers, and what that is worth.

    metrics    scores and outcomes -> the curve, APGR, CPT
    bootstrap  the same over prompts drawn again, for intervals
    figures    what an evaluation says, as values and as JSON
    rivals     the routers to compare, and their scores
    offers     what a router buys: quality against cost
    verdict    figures -> plain words
    build      labels and rivals -> figures

Definitions are RouteLLM's. Knows nothing of terminals or pictures: those are the command's.
"""
