"""The commands that look at a run: report, whatif, export."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from batchroute.cli.flags import FILE, require_matplotlib
from batchroute.cli.output import log, show, show_json
from batchroute.errors import UsageFault
from batchroute.report.export.writers import AUTO, WRITERS
from batchroute.show.words import count, whatif_words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchroute.report.figures import Report


@click.command()
@click.argument("runs", metavar="RUN...", type=FILE, nargs=-1, required=True)
@click.option("--by", metavar="COLUMN", help="Divide the bill by a kept column, route, model, day ...")
@click.option(
    "--top", type=click.IntRange(min=1), metavar="N", help="With --by: a line for the N costliest values."
)
@click.option("--csv", "table", type=FILE, metavar="FILE", help="With --by: write the lines as CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--html", type=FILE, metavar="FILE", help="Write one self-contained page; one run only.")
@click.option("--samples", type=click.IntRange(min=0), default=0, metavar="N", help="Rows to show on the page.")
def report(
    runs: Sequence[Path],
    by: str | None,
    top: int | None,
    table: Path | None,
    as_json: bool,
    html: Path | None,
    samples: int,
) -> int:
    """Say what a run did and cost; several runs are compared.

    With --by the bill of all the runs is divided by the values of a column: one that the job keeps (input.keep),
    or route, model, day (UTC), status, error_type, service_tier ... The lines add up to the total.
    """
    from batchroute.report.build import build_report
    from batchroute.report.comparison import compare
    from batchroute.report.figures import json_text
    from batchroute.show.report import render_comparison, render_report

    if by is None and (top is not None or table is not None):
        raise UsageFault("--top and --csv divide a bill; name the column with --by")
    if html is not None and len(runs) > 1:
        raise UsageFault("--html shows one run; name one")
    if by is not None and html is None:
        return _report_by(runs, by, top, table, as_json)
    reports = [build_report(path) for path in runs]
    if html is not None:
        _write_page(html, runs[0], reports[0], samples)
    elif as_json:
        show_json(json_text(reports[0] if len(reports) == 1 else compare(reports)))
    else:
        show(render_report(reports[0]) if len(reports) == 1 else render_comparison(compare(reports)))
    return 0


def _report_by(runs: Sequence[Path], column: str, top: int | None, table: Path | None, as_json: bool) -> int:
    from batchroute.report.by import TOP, spending_by
    from batchroute.report.export.breakdown import write_breakdown
    from batchroute.report.figures import json_text
    from batchroute.show.by import render_breakdown

    bill = spending_by(runs, column, top=top or TOP)
    if table is not None:
        write_breakdown(bill, table)
        log.info(f"the bill by {bill.column} is in {table}")
    if as_json:
        show_json(json_text(bill))
    elif table is None:
        show(render_breakdown(bill))
    return 0


def _write_page(page: Path, run_directory: Path, report: Report, samples: int) -> None:
    from batchroute.report.details import read_details
    from batchroute.store.files import AS_UMASK_SAYS, refuse_homeless, saving, write_whole

    refuse_homeless(page)
    require_matplotlib("the page's charts need")
    from batchroute.show.html import render_html

    text = render_html(report, read_details(run_directory, samples=samples))
    with saving(page):
        write_whole(page, text.encode(), mode=AS_UMASK_SAYS)
    log.info(f"the report is in {page}")


@click.command()
@click.argument("run_directory", metavar="RUN", type=FILE)
@click.option("--threshold", type=click.FloatRange(min=0), metavar="T", help="Lowest score that goes strong.")
@click.option("--strong-fraction", type=click.FloatRange(0, 1), metavar="F", help="Share that is to go strong.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--output", "out", type=FILE, metavar="JOB.toml", help="Write the job that asks the rows that change."
)
def whatif(
    run_directory: Path, threshold: float | None, strong_fraction: float | None, as_json: bool, out: Path | None
) -> int:
    """Say what a finished run would have cost at another threshold.

    Also how many rows would change side; sends nothing. The job that --output writes takes the answers of all
    other rows over from the run, at no cost.
    """
    from batchroute.run.whatif import share_of_run, what_if, whatif_json

    if (threshold is None) == (strong_fraction is None):
        raise UsageFault("say at what threshold: either --threshold T or --strong-fraction F")
    if threshold is None:
        threshold = share_of_run(run_directory, strong_fraction or 0.0)
    found = what_if(run_directory, threshold)
    if found.unsettled_rows:
        log.warning(f"{count(found.unsettled_rows)} rows are not answered yet and are in none of the figures")
    if found.uncounted_rows:
        log.warning(f"{count(found.uncounted_rows)} rows change side but have no usage; nothing is added for them")
    if as_json:
        show_json(whatif_json(found))
    else:
        click.echo(whatif_words(found))
    if out is not None:
        _write_followup(run_directory, threshold, out)
    return 0


def _write_followup(run_directory: Path, threshold: float, out: Path) -> None:
    from batchroute.run.followup import write_followup

    written = write_followup(run_directory, threshold, out)
    for setting in written.masked:
        log.warning(f"{setting} holds what a run does not write down; put it back before you run {out}")
    log.info(f"batchroute run {out}  # asks the rows that change or have no answer; into {written.output}")


@click.command()
@click.argument("run_directory", metavar="RUN", type=FILE)
@click.argument("out", metavar="OUT", type=FILE)
@click.option("--format", type=click.Choice([AUTO, *WRITERS]), default=AUTO, help="How to write.")
@click.option("--exact", is_flag=True, help="Leave cells of a CSV that look like formulas as they are.")
def export(run_directory: Path, out: Path, format: str, exact: bool) -> int:  # noqa: A002  # the flag
    """Write a run's results in input order as one file.

    OUT ends in .parquet, .jsonl or .csv.
    """
    from batchroute.report.export.files import export_run

    rows = export_run(run_directory, out, format=format, exact=exact)
    log.info(f"{count(rows)} rows: {out}")
    return 0
