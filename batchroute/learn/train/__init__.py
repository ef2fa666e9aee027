"""Labels -> a model directory that a job can name.

    split     prompts to learn from, to stop by, held out
    features  prompts -> a matrix, dense or sparse, on the device that trains
    mf        the model that is trained: its beginning, its logit, its weights on disk
    fit       mini-batches, Adam, early stopping
    gain      a pair of models on the built-in embedder, solved for      ridge     the solver
    build     label files -> a model directory

Knows nothing of jobs, endpoints or runs. The built-in model is trained by a tool of its own, in jobs/training.
"""
