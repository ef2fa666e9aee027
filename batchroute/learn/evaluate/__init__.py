"""Routers against labels: how much of the gap between two models each recovers, and what that is worth.

    figures  what an evaluation says, as values and in plain words
    offers   what a router buys: quality against cost
    build    labels and the routers to compare -> figures

Definitions are RouteLLM's. Knows nothing of terminals or pictures: those are the command's.
"""
