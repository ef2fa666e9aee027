"""An OpenAI-compatible server that routes each request, and RouteLLM's Controller on the same parts.

    chat     a request, and where it goes       scoring   requests scored together
    forward  a request at its endpoint          stream    events on their way through
    app      chat completions over HTTP         access    who may use the server
    server   the process: start, stop           metrics   counters for Prometheus
    batch/   OpenAI's Batch API in front of runs
    chunks/  streams of other APIs as chat's

`controller`, `settings` and `background` are the Controller's.

Limits, retries and prices are those of a run (send/, job/), the routing rule is route/'s: nothing here decides
them anew. Knows no result files; a batch is a run, and only its worker touches one.
"""
