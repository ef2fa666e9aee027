"""What a run did and cost, computed from its directory alone; and its results as one file (`export`).

    build     a directory -> `Report`              figures   the values of report.json
    read      what is read of a directory          sums, all_one_side   sums over rows
    details   what a page shows beyond figures     comparison           several runs

Asks, routes and scores no row; draws nothing.
"""
