"""batchroute for Python: what `import batchroute` offers, for scripts and notebooks. Values come back, not text.

    run       run and arun: a job, a data file or a frame in, a `Run` out
    result    what came of it, the report; rows    its rows as one frame
    jobs      the same keywords over a job file, or in place of one
    frames    polars, pandas, Arrow and lists as one Parquet file in the run directory
    commands  a function for each other command; routers    those of routers alone: score, train, evaluate
    servers   simulate and serve, for as long as a block lasts
    thread    work in a thread of its own, whatever the caller's event loop; Ctrl-C meanwhile
    display   what is seen while a run works

Everything takes paths as text or `Path`, and its keys from os.environ. Decides nothing of what a run does.
"""
