"""The commands that work on a job: run, pilot, check, plan."""

from __future__ import annotations

import os
import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchroute.cli.flags import JOB, SHARD, Flags, job_flags, share_named, with_advice
from batchroute.cli.help import command
from batchroute.cli.output import console, log, log_scored, say_summary, show, show_json, warn_of_loss
from batchroute.errors import BatchrouteError, Stopped, UsageFault
from batchroute.show.words import harmless

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchroute.job.spec import Job
    from batchroute.run.end import RunEnd
    from batchroute.run.options import RunOptions
    from batchroute.store.sharded import Share


@command(
    "run job.toml",
    "run nightly.toml --var DATE=2026-11-28 --quiet",
    "run job.toml --limit 1000 --output runs/pilot",
    "run job.toml --shard 0/4",
    exits=(3, 4, 130),
)
@click.argument("job_file", metavar="JOB", type=JOB)
@job_flags
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON object.")
@click.option("--retry", type=click.Choice(["refused"]), help="Ask refused rows again too.")
@SHARD
@click.option("--engine", metavar="NAME", help="local, processes, ray or ray:ADDRESS: where the work is done.")
def run(
    job_file: Path, flags: Flags, as_json: bool, retry: str | None, shard: str | None, engine: str | None
) -> int:
    """Score, route and answer every row of a job.

    Run it again after any interruption and it goes on where it stopped. Exits 0, and leaves _SUCCESS, where every
    row is answered, or no more are refused than limits.ok_if_refused lets pass; 3 where more are, or rows failed.

    With --shard I/N it is one of N processes, I from 0, that share the input on one machine or on many; with
    --shard auto as Slurm and Kubernetes number their tasks.
    """
    from batchroute.report.figures import json_text, read_report
    from batchroute.run.engine import run_job
    from batchroute.show.report import render_report
    from batchroute.show.summary import summary_of

    job = None
    try:
        share = share_named(shard)
        job = _load(job_file, flags.with_engine(engine), require_keys=True)
        end = run_job(job, _options(flags, retry_refused=retry == "refused", share=share))
    except BatchrouteError as error:
        return _say_error(job_file.stem if job is None else job.name, job, with_advice(error))
    report = read_report(Path(job.output.path)) if end.is_last else None
    if report is not None and as_json:
        show_json(json_text(report))
    elif report is not None and not flags.quiet:
        show(render_report(report))
    warn_of_loss()
    _say_where(job, end)
    say_summary(summary_of(job, end, report))
    return end.exit_code(job.limits.ok_if_refused)


def _options(
    flags: Flags, *, retry_refused: bool = False, pilot_only: bool = False, share: Share | None = None
) -> RunOptions:
    from batchroute.run.options import RunOptions
    from batchroute.show.progress import watcher

    return RunOptions(
        environ=os.environ,
        limit=flags.limit,
        retry_refused=retry_refused,
        pilot_only=pilot_only,
        share=share,
        watch=None if flags.quiet else watcher(console(stderr=True), lines=flags.log_format == "json"),
        notify=log.warning,
    )


def _say_error(name: str, job: Job | None, error: BatchrouteError) -> int:
    from batchroute.show.summary import summary_of_error

    log.error(str(error))
    say_summary(summary_of_error(name, None if job is None else job.output.path, error))
    return error.exit_code


def _load(path: Path, flags: Flags, *, require_keys: bool) -> Job:
    job = flags.load(path, require_keys=require_keys)
    log.info(f"input {', '.join(job.input.path)}")
    log.info(f"output {job.output.path}")
    return job


def _say_where(job: Job, end: RunEnd) -> None:
    where = Path(job.output.path)
    state = end.state(job.limits.ok_if_refused)
    what = "the job" if end.share is None else f"share {end.share}"
    if not end.asked:
        already = f"{what} was complete" if state == "complete" else "every row had ended"
        log.info(f"{already} already, nothing was sent; results are in {where / 'results'}")
    elif end.complete:
        log.info(f"{'' if end.share is None else f'{what} is '}{state}; results are in {where / 'results'}")
    else:
        log.info(f"what is answered is in {where / 'results'}")
    if not end.is_last:
        log.info("other processes are at work on the run; the last one to end writes its report")
        return
    if end.failed:
        log.info(f"the rows that failed are listed in {where / 'failed.jsonl'}")
    if end.refused:
        log.info("the `error` column of rows that were refused says why")
    log.info(f"what it cost, as a page to keep: batchroute report {shlex.quote(str(where))} --html")


@command("pilot job.toml", "pilot job.toml --set pilot.rows=800 --json", exits=(3, 4, 130))
@click.argument("job_file", metavar="JOB", type=JOB)
@job_flags
@click.option("--json", "as_json", is_flag=True, help="Print what was found as one JSON object.")
def pilot(job_file: Path, flags: Flags, as_json: bool) -> int:
    """Measure on a sample what routing keeps and saves here.

    Asks both sides a sample of the rows, grades their answers, and says what each strong share keeps of the strong
    side's quality, what it costs, and whether routing.quality is kept. `run` then goes on from there and asks none
    of these rows again. Exits 3 where more rows could not be graded than limits.ok_if_refused lets pass.
    """
    from batchroute.report.figures import json_text, read_report
    from batchroute.run.engine import run_job
    from batchroute.run.pilot.alone import PilotEnd, refuse_no_pilot
    from batchroute.show.pilot import render_pilot
    from batchroute.show.summary import summary_of_pilot

    job = None
    try:
        job = _load(job_file, flags, require_keys=True)
        refuse_no_pilot(job)
        end = run_job(job, _options(flags, pilot_only=True))
        report = read_report(Path(job.output.path))
        ended = PilotEnd(end, None if report is None else report.quality)
    except BatchrouteError as error:
        return _say_error(job_file.stem if job is None else job.name, job, with_advice(error))
    if report is not None and ended.quality is not None and as_json:
        show_json(json_text(ended.quality))
    elif report is not None and not as_json and not flags.quiet:
        show(render_pilot(report))
    warn_of_loss()
    if ended.is_done:
        log.info("these rows are not asked again: run the job to go on from there")
    say_summary(summary_of_pilot(job, ended, report))
    return ended.exit_code(job.limits.ok_if_refused)


@command("check job.toml", "check jobs/*.toml --online", exits=(4,))
@click.argument("job_files", metavar="JOB...", type=JOB, nargs=-1, required=True)
@job_flags
@click.option(
    "--online",
    is_flag=True,
    help="Ask each endpoint for its models and for one answer of a token; costs a little.",
)
def check(job_files: Sequence[Path], flags: Flags, online: bool) -> int:
    """Find every fault that would keep a job from running.

    Looks at all that a run needs (job, input, keys, model, prices), and warns of what is hardly meant: sides
    exchanged, an address or a model misspelt, params that the provider refuses. Sends nothing without --online.
    """
    codes = []
    for number, path in enumerate(job_files):
        if len(job_files) > 1 and not flags.quiet:
            click.echo(f"{'' if number == 0 else chr(10)}{path}:")
        codes.append(_check(path, flags, f"{path}: " if len(job_files) > 1 else "", online=online))
    return UsageFault.exit_code if UsageFault.exit_code in codes else max(codes)


def _check(path: Path, flags: Flags, whose: str, *, online: bool) -> int:
    """The exit code for one job; what goes to stderr begins with `whose` it is."""
    from batchroute.run.check import check_job

    load = partial(flags.load, path, require_keys=True)
    found = check_job(load, flags.limit)
    for words in found.warnings:
        log.warning(f"{whose}{words}")
    code = _say_found(found.notes, found.faults, flags, whose, UsageFault.exit_code)
    if online and not code:
        from batchroute.run.online import check_online

        answered = check_online(load(), os.environ)
        for words in answered.warnings:
            log.warning(f"{whose}{words}")
        code = _say_found(answered.notes, answered.faults, flags, whose, Stopped.exit_code)
    if not code and not flags.quiet:
        click.echo(f"{path}: fit to run")
    return code


def _say_found(notes: Sequence[str], faults: Sequence[str], flags: Flags, whose: str, code: int) -> int:
    """The exit code: `code` where there is a fault."""
    for note in () if flags.quiet else notes:
        click.echo(harmless(note))
    for fault in faults:
        log.error(fault if fault.startswith(whose.removesuffix(" ")) else f"{whose}{fault}")
    return code if faults else 0


@command("plan job.toml", "plan job.toml --set routing.strong_fraction=0.1 --json", exits=(4,))
@click.argument("job_file", metavar="JOB", type=JOB)
@job_flags
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def plan(job_file: Path, flags: Flags, as_json: bool) -> int:
    """Say what a job will cost and how long it will take.

    Scores the input, which `run` then does not do again; sends nothing.
    """
    from batchroute.run.plan import plan_job, plan_json
    from batchroute.show.plan import beyond_the_plan, render_plan, warnings_of

    job = _load(job_file, flags, require_keys=False)
    planned = plan_job(job, flags.limit, log_scored())
    if as_json:
        for words in warnings_of(planned):
            log.warning(words)
        show_json(plan_json(planned))
    else:
        show(render_plan(planned))
    for words in beyond_the_plan(job, planned):
        log.warning(words)
    if not planned.is_over:
        log.info(f"the scores are kept in {Path(job.output.path) / 'scores'}; run the job to go on from there")
    return 0
