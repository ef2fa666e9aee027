"""What an earlier run of the same job says of its models: answers' length and latency.

Looks at the report.json of the directories beside the output directory. Knows no rows and no prices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchroute.errors import RunFault
from batchroute.report.figures import read_report
from batchroute.store.layout import RunLayout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from batchroute.job.spec import EndpointSpec, Job
    from batchroute.report.figures import Report


@dataclass(frozen=True, slots=True)
class EarlierAnswers:
    """Means over one model's answers in the run `run`; the latency is the median."""

    run: str
    completion_tokens: float
    latency_s: float | None


def earlier_answers(job: Job, output: Path) -> Mapping[str, EarlierAnswers]:
    """By endpoint what the latest complete run of the job's name says; one with another model is left out."""
    report = next((found for found in _reports(output) if found.name == job.name), None)
    if report is None:
        return {}
    found = {name: _answers(report, name, spec) for name, spec in job.endpoints.items()}
    return {name: answers for name, answers in found.items() if answers is not None}


def _reports(output: Path) -> Iterator[Report]:
    """The complete runs beside `output`, latest first."""
    beside = [RunLayout(run) for run in output.parent.glob("*") if run != output]
    written = [run for run in beside if run.report.is_file()]
    for run in sorted(written, key=lambda run: run.report.stat().st_mtime, reverse=True):
        try:
            report = read_report(run.path)
        except (OSError, RunFault):
            continue  # someone else's file: there is nothing to learn from it
        if report is not None and report.state == "complete":
            yield report


def _answers(report: Report, name: str, endpoint: EndpointSpec) -> EarlierAnswers | None:
    if (name in report.simulated) != (endpoint.simulate is not None):
        return None
    bills = [bill for bill in report.models if bill.route == name and bill.model == endpoint.model and bill.ok]
    if not bills or any(bill.completion_tokens is None for bill in bills):
        return None
    tokens = sum(bill.completion_tokens or 0 for bill in bills) / sum(bill.ok for bill in bills)
    latency = report.latency_s.get(name)
    return EarlierAnswers(report.run, tokens, None if latency is None else latency.p50)
