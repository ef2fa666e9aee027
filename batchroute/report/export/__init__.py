"""A run's results as one file in input order, for people and for other programs.

    files    a run -> one file or directory      writers  the formats, a row each in `WRITERS`
    order    parts -> tables in input order      cells    values as a spreadsheet takes them

Knows no settings of a job beyond its name and what it kept.
"""
