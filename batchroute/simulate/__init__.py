"""A fake OpenAI-compatible provider on loopback: latency, limits, bills and faults at will, no model.

`start` runs one inside a running event loop, `serve` is the blocking command. It knows nothing of jobs,
routing or prices; a client can distinguish it from a provider only by its answers, which say so.
"""
