"""Labels -> a model directory that a job can name.

    pool      the label files of a recipe -> what to learn for each prompt, and how much it counts
    recipe    the built-in model: several sources, ridge regression of the gain
    split     prompts to learn from, to stop by, held out
    features  prompts -> a matrix, dense or sparse, on the device that trains
    contests  the models that can be trained: mf, mlp
    fit       mini-batches, Adam, early stopping
    gain      a pair on the built-in embedder, solved for
    build     label files -> a model directory
    terminal  progress, and what came of it

Knows nothing of jobs, endpoints or runs.
"""
