"""A provider's usage or cost table beside what runs say they cost, and what may make the difference.

    headings  which column of a table is what      cells     what its dates and numbers mean
    table     a CSV file -> sums by day and model  names     its models -> those of the runs
    sides     both sides by the same keys          causes    what can make a line differ, and by how much
    compare   line by line                         overall   what can make all of them differ
    figures   the values of reconcile --json

Knows no provider by name: columns are found by what exports call them. Draws nothing.
"""
