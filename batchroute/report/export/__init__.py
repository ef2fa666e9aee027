"""A run's results as one file in input order, for people and for other programs.

    files    a run -> one file or directory      writers  the formats, a row each in `WRITERS`
    order    parts -> tables in input order      cells    tables -> what a format writes
    completion   a row as a chat completion, whatever API it was answered by
    breakdown    a bill by the values of a column, as CSV
    focus    the bill as FOCUS rows           focus_file  ... in a file

Knows how results are put down, not what they mean.
"""
