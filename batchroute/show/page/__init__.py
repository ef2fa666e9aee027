"""The page that people keep: a report as one HTML file, without script, network or font of its own.

    render              a report, or several side by side, to the text of the page
    state, bill, lanes, rows   how far a run came, and its tables and drawings
    nights              those of several runs
    quality             what a pilot found
    plots               scores, money and speed, as shapes
    values              what the templates draw: tables with bars, plots, notes

All text reaches a template as a plain string and is escaped there; nothing here is marked as safe.
"""
