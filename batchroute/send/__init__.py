"""Requests -> answers: one lane per endpoint, with its limits, retries, circuit breaker and budget.

    lane      one endpoint's queue and slots       pace      rate, tokens, 429s, outages: decisions on a clock
    http      connections that are kept            endpoint  one exchange -> a classified answer
    classify  an HTTP answer -> what it means      deadline  one timer for all requests of a lane
    budget    reservations under a hard limit      reuse     answers of finished runs
    open      a job's endpoints -> lanes

Knows no scores and no files of the input; where a request goes was decided before.
"""
