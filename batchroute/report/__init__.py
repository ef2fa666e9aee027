"""What a run did and cost: the figures of report.json, and the ways they are shown.

`build_report` reads a run directory; `render_report`, `render_comparison` and `render_html` only ever see its
`Report`. Nothing here asks, routes or scores a row.
"""

from batchroute.report.build import build_report
from batchroute.report.comparison import Comparison, compare, comparison_json, render_comparison
from batchroute.report.figures import Latency, ModelBill, Report, read_report, report_json, write_report
from batchroute.report.terminal import render_report

__all__ = [
    "Comparison",
    "Latency",
    "ModelBill",
    "Report",
    "build_report",
    "compare",
    "comparison_json",
    "read_report",
    "render_comparison",
    "render_report",
    "report_json",
    "write_report",
]
