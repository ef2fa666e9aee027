"""An OpenAI-compatible routing server, and what it shares with the `Controller`.

    names    what `model` may say               chat     a request, read no deeper than needed
    scoring  requests scored together           forward  a request on its lane, to its end
    stream   events on their way through        replies  an end -> what the client is told
    app      the requests, over HTTP            server   the process: start, address, end
    door     who may come in                    metrics  counters, as Prometheus reads them
    files, batches, batchfile                   uploads, batches and their results, on disk
    batchapi, queue, worker                     their HTTP face, and the process that works on one

`settings`, `background` and `completion` are the Controller's.

The lanes, their limits, retries and prices are those of a run; nothing here decides them anew.
"""
