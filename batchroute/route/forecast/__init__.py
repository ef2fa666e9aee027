"""What a job will cost and how long it will take, before it is asked.

    evidence     what a sample of the input and an earlier run say
    assumptions  what is assumed of an endpoint, and the cost of its rows
    pilot        what both sides and a judge are asked beside the rows, and what that costs
    estimator    scores on disk -> rows, tokens, money and wins at any threshold; the threshold for a budget

Knows scores and prices; sends nothing and scores nothing.
"""
