"""Data -> the first draft of a job for it.

    sample   the first rows, whatever the format    columns  which is asked, which names a row, which is kept
    form     what of that is asked                  jobfile  the draft as a job file with comments

Knows nothing of where job files and recipes lie.
"""
