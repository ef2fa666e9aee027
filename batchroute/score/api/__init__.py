"""Scores by way of an embeddings API: texts sent in batches over a lane, their vectors scored as they come.

    requests   texts -> requests: truncated, grouped, encoded; a 200 -> its vectors
    fetch      requests over a lane, divided where refused
    paid       scores and bill in the run directory             cache    vectors shared between jobs
    rate       all of it as the rater of a router

Knows nothing of models: a `Scorer` makes scores of vectors.
"""
