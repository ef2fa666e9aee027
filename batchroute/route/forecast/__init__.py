"""What a job will cost and how long it will take, before it is asked.

    band         low, mid, high
    tokens       characters per token, measured where a tokenizer is at hand
    earlier      what an earlier run of the same job says
    assumptions  what is assumed of an endpoint, and the cost of its rows
    totals       scores on disk -> rows, tokens, money and wins on each endpoint, at any threshold
    fitting      a budget -> the lowest threshold that keeps within it
    estimator    a job -> all of the above, put together

Knows scores and prices; sends nothing and scores nothing.
"""
