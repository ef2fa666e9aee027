"""The APIs that endpoints speak, each a pure pair: a row -> the body of its request, an answer -> a completion.

    dialect     what a lane has to know of an API            chat        /v1/chat/completions
    translated  a body worded otherwise than chat's          responses   OpenAI's /v1/responses
    parts       the parts of a message, and their media      anthropic   Anthropic's /v1/messages
    fields      of an answer, whatever stands in them        content     of a chat answer, whatever it is

What the params of a request become stands in `job/params`, for the check of a job as well.

Everything else of a lane is shared: what an error means stands in `send/classify`, for all of them.
"""
