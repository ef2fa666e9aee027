"""Texts -> scores: routers, embedders, and the model in the box.

    router      [router] -> a scorer of prompts         rater    chunks -> chunks with scores, in order
    parallel    a rater that has other processes        process  one of those
    cores       how many there can be
    checkpoint  MF models in each of their formats      embed/   texts -> vectors times a model's
    api/        vectors from an embeddings API          models/  the built-in router, with its card
    mf          what of a router needs torch

Knows nothing of thresholds: what a score leads to is `route`'s decision.
"""
