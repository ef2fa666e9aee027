"""How things look: every table and page, from values that others computed.

    report, plan, evaluation   what a terminal shows
    comparison, by, reconcile  ... of several runs, of a bill by a column, and beside a provider's
    quality, pilot, shares     what a pilot found: in sentences, on a terminal, share by share
    terms                      a line for each word that not everybody knows
    progress                   a run at work, on a terminal or in a log
    frame, run_words, speed    ... drawn, in words, and how fast it is
    standing, summary          how runs stand; the last line of one
    requests                   the first requests of a job, before they are sent
    notebook                   a run as the cell of a notebook shows it
    training                   a training at work, and what came of it
    page                       a room of its own: the page of a run, or of several
    curves                     an evaluation's curves, drawn into a file
    words, tables              what they share: figures as text, one kind of table
    log                        what is said meanwhile

Computes no figure, and does not know who looks: a command's terminal, a notebook, a reader of the page.
"""
