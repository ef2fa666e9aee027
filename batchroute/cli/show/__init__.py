"""How things look: every table and page, from values that others computed.

    report, comparison, plan, evaluation, training   tables of a terminal
    progress                                         a run at work, on a terminal or in a log
    html, charts, curves                             the page and its drawings
    words                                            numbers and times as text

Computes no figure.
"""
