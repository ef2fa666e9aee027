"""How things look: every table and page, from values that others computed.

    report, plan, evaluation   what a terminal shows
    progress                   a run or a training at work, on a terminal or in a log
    page                       a room of its own: the page of a run, or of several
    curves                     an evaluation's curves, drawn into a file
    words, tables              what they share: figures as text, one kind of table
    log                        what is said meanwhile

Computes no figure, and does not know who looks: a command's terminal, a notebook, a reader of the page.
"""
