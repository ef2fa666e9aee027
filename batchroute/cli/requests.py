"""The command that shows requests before they are sent: show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from batchroute.cli.flags import JOB, Flags, job_flags
from batchroute.cli.help import command
from batchroute.cli.output import log, show_json
from batchroute.show.words import harmless

if TYPE_CHECKING:
    from pathlib import Path


WHEN_SCORED = "the threshold is known when all rows are scored, as `plan` and `run` do"
WHEN_ASKED = "the threshold is known when the job's pilot has been asked, as `pilot` and `run` do"


@command("show job.toml", "show job.toml --rows 1 --json", exits=(4,))
@click.argument("job_file", metavar="JOB", type=JOB)
@job_flags
@click.option("--rows", type=click.IntRange(min=1), default=3, metavar="N", help="So many rows; 3 by default.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(job_file: Path, flags: Flags, rows: int, as_json: bool) -> int:
    """Show the first requests of a job as they would be sent.

    Each with its side, score, tokens and the most it costs, or why it would be refused. Sends nothing, needs no
    keys, leaves nothing behind.
    """
    from batchroute.report.figures import json_text
    from batchroute.run.preview import preview_job
    from batchroute.show.requests import preview_lines

    job = flags.load(job_file, require_keys=False)
    preview = preview_job(job, rows if flags.limit is None else min(rows, flags.limit))
    if as_json:
        show_json(json_text(preview))
        return 0
    click.echo(harmless("\n".join(preview_lines(preview))))
    if preview.tie is not None:
        log.warning(preview.tie.words)
    if preview.threshold is None and preview.rows:
        log.info(WHEN_SCORED if job.routing.quality is None else WHEN_ASKED)
    return 0
