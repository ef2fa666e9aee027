"""OpenAI's Files and Batch APIs in front of runs: uploads, batches and their results, on disk.

    files, batches  what is stored              api     OpenAI's requests over HTTP
    queue, worker   who works on a batch        lines   a batch's input, and its results as lines
    shares          the limits and the money of live requests beside batches

Knows HTTP and runs, not how a request is sent.
"""
