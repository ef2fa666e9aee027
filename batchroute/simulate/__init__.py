"""A fake provider on loopback: latency, limits, bills, caches, tiers and faults at will, no model.

    behaviour  its settings                          provider   what is answered to a request
    question   what every request says               chat       /v1/chat/completions
    compose    the flawless answer, and its bill     responses  /v1/responses, OpenAI's
    answer     an answer and a reply as values       messages   /v1/messages, Anthropic's
    schema     an instance of a JSON schema          dialect    what the three have in common
    cache      what of a prompt is read and written  embeddings /v1/embeddings    models  /v1/models
    faults     what goes wrong, by name              damage     the ways in which a reply is damaged
    traffic    what it counts: limits, statistics, the true bill
    server     on a port: `start` inside a running event loop, `serve` as the blocking command

It knows nothing of jobs, routing or prices; a client can distinguish it from a provider only by its answers, which
say so.
"""
