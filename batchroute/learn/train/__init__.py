"""Labels -> a model directory that a job can name.

    features  prompts -> a matrix, dense or sparse, on the device that trains
    fit       the model that is trained, and how: mini-batches, Adam, early stopping on prompts held apart
    gain      a pair of models on the built-in embedder, solved for
    build     label files -> a model directory

Knows nothing of jobs, endpoints or runs. The built-in model is trained by a tool of its own, in jobs/training.
"""
