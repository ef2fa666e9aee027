"""The commands that rate prompts and send none: score, calibrate."""

from __future__ import annotations

import os
import sys
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchroute.cli.flags import FILE, SHARD, Flags, job_flags, share_named, share_of, usd_of
from batchroute.cli.help import command
from batchroute.cli.output import log, log_scored, show_json
from batchroute.cli.places import data_at, kind_of
from batchroute.errors import UsageFault
from batchroute.run.streams import is_stdout_lost
from batchroute.show.words import calibration_words, count, harmless

if TYPE_CHECKING:
    from decimal import Decimal

    from batchroute.run.calibrate import Calibration
    from batchroute.store.sharded import Share


@command(
    "score prompts.jsonl --prompt question -o scores.parquet", "score -", "score job.toml --shard 0/4", exits=(4,)
)
@click.argument("source", metavar="INPUT")
@click.option("-o", "out", type=FILE, metavar="OUT.parquet", help="Where to write the scores.")
@click.option("--prompt", metavar="COLUMN", help="The text column of a data file.")
@SHARD
@job_flags
def score(source: str, out: Path | None, prompt: str | None, shard: str | None, flags: Flags) -> int:
    """Score prompts without asking anyone.

    INPUT is a data file, a job file, or - for one prompt a line from stdin. With --shard it is a job file, and the
    scores of its share are kept in the run directory, where `run --shard` finds them.
    """
    if (share := share_named(shard)) is not None:
        return _score_share(source, out, share, flags)
    import asyncio

    from batchroute.input.growing import appended
    from batchroute.job.load import scoring_sections
    from batchroute.job.spec import Limits
    from batchroute.run.open import open_input
    from batchroute.run.scorefile import score_file, score_lines
    from batchroute.score.api.rate import EmbedContext, rater_opener
    from batchroute.score.router import load_scorer

    limits = Limits()
    if source.endswith(".toml"):
        job = flags.load(Path(source), require_keys=False)
        data, router, limits = job.input, job.router, job.limits
    else:
        data_at(Path(source))
        data, router = scoring_sections(source, prompt, flags.sets, flags.variables)
    open_rater = rater_opener(router, EmbedContext(os.environ, limits, log.warning))
    if source == "-":
        # A person who types wants the score of a line at once; a pipe wants them fast.
        batch_size = 1 if sys.stdin.isatty() else router.batch_size
        lines, scorer = takewhile(lambda _: not is_stdout_lost(), sys.stdin), load_scorer(router)
        asyncio.run(score_lines(lines, scorer, open_rater, batch_size, lambda line: click.echo(harmless(line))))
        return 0
    if out is None:
        raise UsageFault("name the file for the scores: -o OUT.parquet")
    opened = open_input(data, router, None)
    if out.exists() and any(out.resolve() == Path(file.path) for file in opened.files):
        raise UsageFault(f"{out}: is the data that is to be scored; name another file for the scores")
    scored = asyncio.run(score_file(opened, router, open_rater, out, flags.limit, log_scored()))
    if words := appended(opened.files):
        log.warning(words)
    rows, refused, speed = count(scored.rows), count(scored.refused), scored.rows / scored.took_s
    log.info(f"{rows} rows, {refused} of them refused, in {scored.took_s:.1f} s ({speed:,.0f}/s): {out}")
    return 0


def _score_share(source: str, out: Path | None, share: Share, flags: Flags) -> int:
    import time

    from batchroute.run.open import open_input
    from batchroute.run.options import RunOptions
    from batchroute.run.shards.alone import scored_share

    if out is not None or not source.endswith(".toml"):
        raise UsageFault(
            "score --shard keeps the scores in the run directory of a job file: score JOB --shard I/N"
        )
    job = flags.load(Path(source), require_keys=False)
    options = RunOptions(os.environ, limit=flags.limit, share=share, notify=log.warning)
    started = time.monotonic()
    opened = open_input(job.input, job.router, Path(job.output.path), raw=job.output.raw)
    with scored_share(job, options, opened, log_scored()) as scored:
        rows, took_s = scored.rows, time.monotonic() - started
    log.info(f"share {share.index}/{share.of}: {count(rows)} rows have scores, {took_s:.1f} s: {job.output.path}")
    return 0


@command("calibrate job.toml --strong-fraction 0.1", "calibrate job.toml --budget 25", exits=(4,))
@click.argument("source", metavar="INPUT")
@click.option("--strong-fraction", type=share_of, metavar="F", help="Share that is to go strong.")
@click.option("--budget", "budget_usd", metavar="USD", help="What a job may cost; INPUT is its job file.")
@click.option("--prompt", metavar="COLUMN", help="The text column of a data file that is to be scored.")
@job_flags
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def calibrate(
    source: str,
    strong_fraction: float | None,
    budget_usd: str | None,
    prompt: str | None,
    flags: Flags,
    as_json: bool,
) -> int:
    """Find the threshold for a share of strong rows, or for a budget.

    INPUT is a job file, a data file with --prompt, or a Parquet file with a column `score`.
    """
    from batchroute.report.figures import json_text
    from batchroute.run.calibrate import refuse_without_aim

    if (strong_fraction is None) == (budget_usd is None):
        job = flags.load(Path(source), require_keys=False) if source.endswith(".toml") else None
        refuse_without_aim(job, ("--strong-fraction F", "--budget USD"))
    if budget_usd is not None:
        found = _for_budget(source, usd_of("--budget", budget_usd), flags)
    else:
        found = _for_share(source, strong_fraction or 0.0, prompt, flags)
    if as_json:
        show_json(json_text(found))
    else:
        click.echo(calibration_words(found))
    return 0


def _for_share(source: str, share: float, prompt: str | None, flags: Flags) -> Calibration:
    from batchroute.job.load import scoring_sections
    from batchroute.run.calibrate import calibrate_data, calibrate_job, calibrate_scores

    if source.endswith(".toml"):
        return calibrate_job(flags.load(Path(source), require_keys=False), share, flags.limit, log_scored())
    path = data_at(Path(source))
    if prompt is not None:
        data, router = scoring_sections(source, prompt, flags.sets, flags.variables)
        return calibrate_data(data, router, share, flags.limit, log_scored())
    if path.suffix != ".parquet" and kind_of(path) == "data":
        raise UsageFault(f"{path} has no scores yet: name the text column to be scored, as --prompt prompt")
    return calibrate_scores(path, share, flags.limit)


def _for_budget(source: str, budget_usd: Decimal, flags: Flags) -> Calibration:
    from batchroute.run.calibrate import calibrate_budget

    if not source.endswith(".toml"):
        raise UsageFault("--budget needs a job file, which names the models and so their prices")
    job = flags.load(Path(source), require_keys=False)
    return calibrate_budget(job, budget_usd, flags.limit, log_scored())
