"""The APIs that endpoints speak, each a pure pair: a row -> the body of its request, an answer -> a completion.

    dialect    what a lane has to know of an API     chat    /v1/chat/completions

Everything else of a lane is shared: what an error means stands in `send/classify`, for all of them.
"""
