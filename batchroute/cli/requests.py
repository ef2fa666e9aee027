"""The command that shows requests before they are sent: show. Knows how one is laid out on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from batchroute.cli.flags import JOB, Flags, job_flags
from batchroute.cli.help import command
from batchroute.cli.output import log, show_json
from batchroute.show.words import count, harmless, money, one_line, threshold

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchroute.run.preview import Preview, ShownRequest, ShownRow


_SHOWN_CHARS = 4000  # of a body; an image in it has millions


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

    job = flags.load(job_file, require_keys=False)
    preview = preview_job(job, rows if flags.limit is None else min(rows, flags.limit))
    if as_json:
        show_json(json_text(preview))
        return 0
    click.echo(harmless("\n".join(_lines(preview))))
    if preview.threshold is None and preview.rows:
        log.info("the threshold is known when all rows are scored, as `plan` and `run` do")
    return 0


def _lines(preview: Preview) -> Iterator[str]:
    if not preview.rows:
        yield "the input has no rows"
    for row in preview.rows:
        row_id = "" if row.id is None else f", id {one_line(row.id)}"
        yield f"{one_line(row.file)}, row {row.row}{row_id}"
        yield f"  {_way(row, preview.threshold)}"
        for request in row.requests:
            yield from (f"  {line}" for line in _request(request, is_open=row.route is None))
        yield ""


def _way(row: ShownRow, at: float | None) -> str:
    """Where it goes and why, or why nowhere."""
    if row.refusal is not None:
        return f"refused: {one_line(row.refusal)}"
    score = "no score" if row.score is None else f"score {threshold(row.score)}"
    if row.route is None:
        return f"{score}: strong or weak, as the threshold will be"
    return f"{score}: {row.route}, {_why(row, at)}"


def _why(row: ShownRow, at: float | None) -> str:
    if row.route_reason == "override":
        return "as the row says"
    if row.route_reason == "too_long":
        return "as it is too long for the other side"
    return f"{'at least' if row.route == 'strong' else 'below'} the threshold {threshold(at)}"


def _request(request: ShownRequest, *, is_open: bool) -> Iterator[str]:
    side = f"if {request.endpoint}: " if is_open else ""
    yield f"{side}{request.model}, POST {request.url}"
    yield from (f"{name}: {value}" for name, value in request.headers.items())
    most = "an unknown cost" if request.most_usd is None else f"{money(request.most_usd)} USD"
    yield f"about {count(request.input_tokens)} tokens, {count(request.tokens)} with its answer; at most {most}"
    body = bytes(request.body).decode()
    yield body if len(body) <= _SHOWN_CHARS else f"{body[:_SHOWN_CHARS]}... ({len(body):,} characters: see --json)"
