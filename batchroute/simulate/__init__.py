"""A fake provider on loopback: latency, limits, bills, caches, tiers and faults at will, no model.

    behaviour   its settings                          provider   what is answered to a request
    question    what every request says               chat       /v1/chat/completions
    compose     the flawless answer, and its bill     responses  /v1/responses, OpenAI's
    answer      an answer and a reply as values       openai     what those two have in common
    schema      an instance of a JSON schema          messages   /v1/messages, Anthropic's
    cache       what of a prompt is read and written  dialect    what the provider has to know of each
    faults      what goes wrong, by name              damage     the ways in which a reply is damaged
    skill       answers that are right or nearly so   arithmetic a sum in a prompt, worked out
    judge       verdicts on answers                   models     /v1/models
    embeddings  /v1/embeddings
    traffic     what it counts: limits, statistics, the true bill
    server      on a port: `start` inside a running event loop, `serve` as the blocking command

It knows nothing of jobs, routing or prices; a client can distinguish it from a provider only by its answers, which
say so.
"""
