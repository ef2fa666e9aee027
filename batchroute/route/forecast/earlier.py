"""What an earlier run of the same job says of its models: answers' length and latency.

Looks at the report.json of the directories beside the output directory. Knows no rows and no prices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from batchroute.types import SIDES, Side

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from batchroute.job.spec import EndpointSpec, Job


class _Bill(msgspec.Struct):
    route: Side
    model: str | None
    ok: int
    completion_tokens: int | None


class _Latency(msgspec.Struct):
    p50: float


class _Report(msgspec.Struct):
    """As much of report.json as is asked for here."""

    name: str
    run: str
    state: str
    models: list[_Bill]
    latency_s: dict[Side, _Latency | None]
    simulated: list[Side] = []


@dataclass(frozen=True, slots=True)
class EarlierLane:
    """Means over one model's answers in the run `run`; the latency is the median."""

    run: str
    completion_tokens: float
    latency_s: float | None


def earlier_lanes(job: Job, output: Path) -> Mapping[Side, EarlierLane]:
    """What the latest complete run of the job's name says of each side; a side with another model says nothing."""
    report = next((found for found in _reports(output) if found.name == job.name), None)
    if report is None:
        return {}
    sides = {side: _lane(report, side, getattr(job.endpoints, side)) for side in SIDES}
    return {side: lane for side, lane in sides.items() if lane is not None}


def _reports(output: Path) -> Iterator[_Report]:
    """The complete runs beside `output`, latest first."""
    paths = [path for path in output.parent.glob("*/report.json") if path.parent != output]
    for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            report = msgspec.json.decode(path.read_bytes(), type=_Report)
        except (OSError, msgspec.DecodeError):
            continue  # someone else's file: there is nothing to learn from it
        if report.state == "complete":
            yield report


def _lane(report: _Report, side: Side, endpoint: EndpointSpec) -> EarlierLane | None:
    if (side in report.simulated) != (endpoint.simulate is not None):
        return None
    bills = [bill for bill in report.models if bill.route == side and bill.model == endpoint.model and bill.ok]
    if not bills or any(bill.completion_tokens is None for bill in bills):
        return None
    tokens = sum(bill.completion_tokens or 0 for bill in bills) / sum(bill.ok for bill in bills)
    latency = report.latency_s.get(side)
    return EarlierLane(report.run, tokens, None if latency is None else latency.p50)
