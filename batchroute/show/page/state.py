"""How far a run has come, and what to do where it is not complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchroute.report.standing import FAILED
from batchroute.show.page.lanes import without_quotes
from batchroute.show.words import count, one_line, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batchroute.report.figures import Report


def state_lines(report: Report, *, has_texts: bool) -> list[str]:
    """Why the run is in its state, and what changes that; nothing where it is complete."""
    if report.state == "complete":
        return []
    if report.state == "running":
        return ["A run is at work in this directory; these are its figures so far."]
    return list(_causes(report, one_line if has_texts else without_quotes))


def _causes(report: Report, said: Callable[[str], str]) -> Iterator[str]:
    if report.state == "refusals":
        yield (
            f"Every row has ended, but more were refused ({count(report.refused)}) than limits.ok_if_refused lets "
            "pass. The errors below say why; run the job with --retry refused to ask these rows again."
        )
    for name, lane in report.lanes.items():
        if lane.doing == "no_money":
            yield f"The {name} lane has no money for its next row: raise limits.max_cost_usd, then run again."
        elif lane.doing in {"stopped", "away"}:
            yield f"The {name} lane is {said(lane.state)}."
    if report.failed:
        yield f"{rows_of(report.failed)} {FAILED}."
    if report.remaining:
        yield f"Of {rows_of(report.remaining)} there is no answer yet: run the job again to go on."
    if report.rows is None:
        yield "How many rows there are is not known before the whole input is scored: run the job again to go on."
    if report.unsealed:
        safe = f"What is known of {rows_of(report.unsealed)} is safe, but not in the results yet"
        yield f"{safe}: run the job again."
