"""What the commands do with a job: check, score, plan, run, and look at it from another threshold.

    engine     a job from input to results        local      the whole input in this process
    shard      its rows, read and delivered by endpoint
    row_ends   what becomes of a row that came back
    background  the clock, the status, the display, beside the work
    lanes      the lane of each endpoint          routing    the threshold, and what waits for it
    scoring    input -> scores on disk            feed       the requests one endpoint has to be sent
    settle     how a row ended -> its result      stop       ending early, by a caller, a signal, the clock
    end        how the run ended -> report.json   progress   a run's counters
    prepare    an input scored, and nothing sent  process    event loop, collector, open files
    handover   rows an answer sends to another    open     what every command does first
    streams    stdin, stdout, stderr, and their loss
    propose/   data -> the first draft of a job   preview    the first requests, not sent
    told       telling now and then how many rows are scored
    kept       threshold and scores that are there  pilot/  rows that both sides are asked first
    shards/    a run over shards of its input: what one process does of it
    substitutes  models that answer for another   unconfirmed  what was sent without a limit and never heard of
    spending   what the directory has cost so far  notify    the job's own command at the end
    status     status.json while a run works       outage    says when an endpoint goes away, and is back
    online     what endpoints say to a check      resolved   a threshold resolved anew beside answers
    advice     what a job hardly means            hints      what the end of a run says of its input
    workers/   a run by several processes         options    what a run is told beside its job

Each other module is a command: plan, check, calibrate, whatif, followup, scorefile. Prints nothing.
"""
