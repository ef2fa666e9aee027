"""What the commands do with a job: check, score, plan, run, and look at it from another threshold.

    engine     a job from input to results          feed       the requests one lane has to send
    scoring    input -> scores on disk              settle     how a row ended -> its result
    prepare    an input scored, and nothing sent    plan, check, calibrate, whatif, followup, scorefile
    progress   a run's counters                     process    event loop, collector, open files

Prints nothing.
"""
