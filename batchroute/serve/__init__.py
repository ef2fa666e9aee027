"""An OpenAI-compatible routing server, and what it shares with the `Controller`.

    names    what `model` may say               chat     a request, read no deeper than needed
    scoring  requests scored together           forward  a request on its lane, to its end
    stream   events on their way through        replies  an end -> what the client is told

The lanes, their limits, retries and prices are those of a run; nothing here decides them anew.
"""
