"""A fake OpenAI-compatible provider on loopback: latency, limits, bills and faults at will, no model.

    behaviour  its settings                      provider  what is answered to a request
    answers    the flawless answers              faults    what damages them
    traffic    what it counts: limits, statistics
    server     on a port: `start` inside a running event loop, `serve` as the blocking command

It knows nothing of jobs, routing or prices; a client can distinguish it from a provider only by its answers, which
say so.
"""
