"""A request's params in chat's words -> the fields of a body in the words of the API that an endpoint speaks.

    words       what can become of one of chat's words      responses   OpenAI's /v1/responses
    translate   the params of an endpoint, or of a row      anthropic   Anthropic's /v1/messages

A word that a table does not name is the API's own and passes through. Knows no messages and no answers, which
`send/dialects` does.
"""
