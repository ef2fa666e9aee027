"""Event streams of other APIs as the chunks of a chat completion, event by event.

    compose   chunks as chat writes them        responses   OpenAI's /v1/responses
    open      the translator of an API          anthropic   Anthropic's /v1/messages

Knows no sockets and no limits: `serve/stream` passes the events on.
"""
