"""The functions beside `run`: one for each command that works on jobs and runs, which returns its figures.

What takes a job takes a job file, too. Work that needs an event loop has a thread of its own, as a run has; Ctrl-C
then ends it at the next rows that are scored. What those figures mean is said where they are declared.
"""

# ruff: noqa: PLC0415  # each function imports what it needs, so that one of them does not load what the others do

from __future__ import annotations

import os
import threading
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from batchroute.errors import UsageFault
from batchroute.job.spec import Job
from batchroute.python.jobs import job_for
from batchroute.python.thread import in_thread
from batchroute.report.export.writers import AUTO
from batchroute.types import HIGHEST_THRESHOLD

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchroute.python.jobs import StrPath
    from batchroute.report.by import Breakdown
    from batchroute.report.comparison import Comparison
    from batchroute.report.figures import Report
    from batchroute.report.invoice.figures import Reconciliation
    from batchroute.report.standing import Standing
    from batchroute.run.calibrate import Calibration
    from batchroute.run.check import Findings
    from batchroute.run.plan import Plan
    from batchroute.run.preview import Preview
    from batchroute.run.whatif import WhatIf

Value = TypeVar("Value")


def check(
    job: Job | StrPath,
    *,
    online: bool = False,
    limit: int | None = None,
    output: StrPath | None = None,
    settings: Mapping[str, Any] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Findings:
    """Every fault that would keep a job from running, none of them raised; sends nothing unless `online`.

        assert not br.check("nightly.toml").faults

    `online` asks each endpoint for its models and for one answer of a token, which costs a little.
    """
    from batchroute.run.check import check_job

    def load() -> Job:
        return job_for(job, output, settings, variables, {}, require_keys=True)

    found = check_job(load, limit)
    if online and not found.faults:
        from batchroute.run.online import check_online

        answered = in_thread(lambda: check_online(load(), os.environ), lambda _: None)
        found.faults += answered.faults
        found.notes += answered.notes
    return found


def plan(
    job: Job | StrPath,
    *,
    limit: int | None = None,
    output: StrPath | None = None,
    settings: Mapping[str, Any] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Plan:
    """What a job will cost and how long it will take; keeps the scores for the run, and sends nothing.

    planned = br.plan("nightly.toml")
    planned.cost_usd.mid, pl.DataFrame(planned.frontier)
    """
    from batchroute.run.plan import plan_job

    loaded = job_for(job, output, settings, variables, {}, require_keys=False)
    return _scoring(lambda on_rows: plan_job(loaded, limit, on_rows))


def show(
    job: Job | StrPath,
    *,
    rows: int = 3,
    output: StrPath | None = None,
    settings: Mapping[str, Any] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Preview:
    """The first requests of a job as they would be sent, with side, score, tokens and the most they cost.

        br.show("nightly.toml", rows=1).rows[0]

    Sends nothing, needs no keys, leaves nothing behind.
    """
    from batchroute.run.preview import preview_job

    loaded = job_for(job, output, settings, variables, {}, require_keys=False)
    return in_thread(lambda: preview_job(loaded, rows), lambda _: None)


def calibrate(
    source: Job | StrPath,
    *,
    strong_fraction: float | None = None,
    budget_usd: float | Decimal | None = None,
    prompt: str | None = None,
    limit: int | None = None,
    settings: Mapping[str, Any] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Calibration:
    """The threshold that sends this share strong, or keeps a job within a budget.

        br.calibrate("prompts.parquet", prompt="text", strong_fraction=0.1).threshold

    `source`: a job, or its file; a data file with its column of texts as `prompt`; or a Parquet file with a column
    `score`. A budget needs a job.
    """
    from batchroute.run import calibrate as calibration

    is_job = isinstance(source, Job) or os.fspath(source).endswith(".toml")
    if (strong_fraction is None) == (budget_usd is None):
        meant = job_for(source, None, settings, variables, {}, require_keys=False) if is_job else None
        calibration.refuse_without_aim(meant, ("strong_fraction", "budget_usd"))
    share = _share(strong_fraction or 0.0)
    if isinstance(source, Job) or is_job:
        job = job_for(source, None, settings, variables, {}, require_keys=False)
        if budget_usd is None:
            return _scoring(lambda on_rows: calibration.calibrate_job(job, share, limit, on_rows))
        usd = _usd("budget_usd", budget_usd)
        return _scoring(lambda on_rows: calibration.calibrate_budget(job, usd, limit, on_rows))
    if budget_usd is not None:
        raise UsageFault("budget_usd needs a job, which names the models and so their prices")
    if prompt is None:
        return calibration.calibrate_scores(Path(source), share, limit)
    from batchroute.job.load import scoring_sections

    data, router = scoring_sections(os.fspath(source), prompt, (), variables, settings or {})
    return _scoring(lambda on_rows: calibration.calibrate_data(data, router, share, limit, on_rows))


def whatif(
    run: StrPath,
    *,
    threshold: float | None = None,
    strong_fraction: float | None = None,
    out: StrPath | None = None,
) -> WhatIf:
    """A finished run at another threshold, or another share: rows that change side, and what that costs.

        br.whatif("runs/2026-11-28", strong_fraction=0.2).delta_usd

    `out` names a job file to be written, which asks the rows that change and takes over all others.
    """
    from batchroute.run.whatif import share_of_run, what_if

    if (threshold is None) == (strong_fraction is None):
        raise UsageFault("say at what threshold: either threshold or strong_fraction")
    if threshold is not None and not 0 <= threshold <= HIGHEST_THRESHOLD:
        raise UsageFault(f"threshold = {threshold:g}: must be from 0 to 1")
    at = share_of_run(Path(run), _share(strong_fraction or 0.0)) if threshold is None else threshold
    found = what_if(Path(run), at)
    if out is not None:
        from batchroute.run.followup import write_followup

        write_followup(Path(run), at, Path(out))
    return found


def report(run: StrPath) -> Report:
    """What a run did and cost, computed from its files as they are now; money in USD, None where unknown.

    br.report("runs/2026-11-28").savings_usd
    """
    from batchroute.report.build import build_report

    return build_report(Path(run))


def status(run: StrPath) -> Standing:
    """How a run stands: whether it is at work and where, how far it is, what each lane does, why it ended.

    br.status("runs/2026-11-28").lanes["strong"].state
    """
    from batchroute.report.standing import standing_of

    return standing_of(Path(run))


def compare(*runs: StrPath) -> Comparison:
    """The reports of several runs, and whether the later ones had the same kind of prompts as the first.

    br.compare("runs/2026-11-27", "runs/2026-11-28").drifts
    """
    from batchroute.report.comparison import compare as compare_reports

    if not runs:
        raise UsageFault("name the runs that are to be compared")
    return compare_reports([report(run) for run in runs])


def report_by(column: str, *runs: StrPath) -> Breakdown:
    """The bill of all the runs divided by a kept column, or by route, model, day, status ...

    br.report_by("topic", "runs/2026-11-28").lines
    """
    from batchroute.report.by import spending_by

    if not runs:
        raise UsageFault("name the runs whose bill is to be divided")
    return spending_by([Path(run) for run in runs], column)


def export(run: StrPath, out: StrPath, *, format: str = AUTO, exact: bool = False) -> int:  # noqa: A002 - the flag
    """Writes a run's results in input order as one .parquet, .jsonl or .csv file; returns the number of rows.

    br.export("runs/2026-11-28", "answers.parquet")
    """
    from batchroute.report.export.files import export_run

    return export_run(Path(run), Path(out), format=format, exact=exact)


def export_focus(
    run: StrPath, out: StrPath, *, tag: str | None = None, account: str | None = None, exact: bool = False
) -> int:
    """Writes a run's bill as FOCUS 1.2 rows for finance tools, .parquet or .csv; returns the number of rows.

        br.export_focus("runs/2026-11-28", "bill.csv", tag="team")

    `tag` is a kept column whose values become a tag, `account` the BillingAccountId, else the API's host.
    """
    from batchroute.report.export.focus_file import export_focus as write_focus

    return write_focus(Path(run), Path(out), tag=tag, account=account, exact=exact)


def reconcile(
    *runs: StrPath,
    invoice: StrPath,
    columns: Mapping[str, str] | None = None,
    dates: Literal["mdy", "dmy"] | None = None,
    within_usd: float | Decimal = Decimal("0.01"),
) -> Reconciliation:
    """A provider's exported costs beside what runs cost, per day and model, each difference with its causes.

        br.reconcile("runs/2026-11-28", invoice="costs.csv").agrees

    `columns` names what the file does not tell by itself: {"usd": "Amount"}; `dates` how it writes days.
    """
    from batchroute.report.invoice.compare import reconcile as compare_with

    if not runs:
        raise UsageFault("name the runs that the invoice is for")
    paths = [Path(run) for run in runs]
    within = _usd("within_usd", within_usd)
    return compare_with(paths, Path(invoice), columns=columns, dates=dates, within_usd=within)


def _scoring(work: Callable[[Callable[[int], None]], Value]) -> Value:
    """Work that scores, in a thread of its own; it is given what to call after some rows."""
    interrupted = threading.Event()

    def on_rows(_rows: int) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt

    return in_thread(lambda: work(on_rows), lambda _: interrupted.set())


def _share(share: float) -> float:
    from batchroute.job.meant import number_meant

    if not 0 <= share <= 1:
        raise UsageFault(f"strong_fraction = {share:g}: must be from 0 to 1{number_meant(share, 1)}")
    return share


def _usd(name: str, amount: float | Decimal) -> Decimal:
    usd = Decimal(str(amount))
    if not (usd.is_finite() and usd >= 0):
        raise UsageFault(f"{name} = {amount}: must be an amount of US dollars, such as 25 or 0.5")
    return usd
