"""How things look: every table and page, from values that others computed.

    report, comparison, plan, evaluation, training   what a terminal shows, with histogram, thresholds
    progress                                         a run at work, on a terminal or in a log
    html, charts, curves                             the page, its charts, an evaluation's curves
    words, tables, drawing                           what they share: figures as text, one table, one style

Computes no figure.
"""
