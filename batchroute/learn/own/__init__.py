"""A router of a job's own, learnt from the graded rows of its pilot; it routes only where it is shown better.

    parts   rows -> the part that chooses a router and the part that the promise is made on; folds
    fit     prompts and gains -> a model on the built-in embedder that starts from the one there is
    choice  scores of several routers on graded rows -> their figures, and which of them routes
    build   the graded rows of part A -> the choice, and a model directory

Asks no endpoint and knows no run directory.
"""
