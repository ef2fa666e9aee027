"""How good an answer is: answers -> grades in [0, 1].

Asks no endpoint, and knows no files of a run.
"""
