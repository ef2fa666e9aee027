"""What a run did and cost, computed from its directory alone; and its results as one file (`export`).

    build     a directory -> `Report`              figures   the values of report.json
    read      what is read of a directory          sums, token_sums   sums over rows (tokens: their values)
    answers   how they ended, who gave them        all_one_side       what all rows would have cost on one side
    savings   what was saved, by cause             comparison         several runs
    details   what a page shows beyond figures     beside             what a bill has beside its rows
    by        the bill by the values of a column   kept_columns       a kept column as text
    lanes     what each lane does, and did         standing           how a run stands, from its small files
    graded    what is kept on graded rows          together           the lanes of several processes as one
    ties      rows that share the threshold's score  quality   what a pilot found
    daily     the bill as providers send theirs: by day, model and tier; invoice, a room of its own, compares both

Asks, routes and scores no row; draws nothing.
"""
