"""Requests -> answers: one lane per endpoint, with its limits, retries, circuit breaker and budget.

    request    what goes in, what comes out      lane       requests of one endpoint, each to its end
    gate       the moment one may leave          pace       the speed a server allows, learnt from 429s
    allowance  slots, tokens, money              breaker    an endpoint that is away, or a bad request?
    budget     reservations under a hard limit   rate       requests a minute
    endpoint   one exchange -> an answer         http       connections that are kept
    connection one of them: kept alive, bounded  encoding   compressed answers
    classify   an HTTP answer -> what it means   verdict    what an error means: the table
    parse      its body -> JSON, however wrapped events     an event stream, joined
    fault      an error, in whatever shape       retry      again? when? does it count?
    dialects/  the APIs that endpoints speak     usage      what an answer says it was billed
    waits      how long a server asks to wait    renewal    a key that expires
    body       a row -> bytes to send            tokens     of a text, estimated or counted
    doubt      what open requests show of others room       how many are open at a time
    refusals   the same one, again and again     tier       a service tier that is full
    reuse      answers of finished runs          scratch    their fingerprints, on disk meanwhile
    open       settings -> what a lane needs     deadline   one timer for all requests of an endpoint
    state      what a lane does, in one value    attempt    one of them, and what it says of the endpoint
    backend    one address of a lane             fleet      all of them, and who gets the next request
    share      what one address may use          leased     what a lane may use, for a while
    outage     when it goes away, and is back

Knows no scores and no files of the input; where a request goes was decided before.
"""
