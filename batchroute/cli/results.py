"""The commands that look at a run: report, whatif, export."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchroute.cli.flags import FILE, RUN, share_of, threshold_of
from batchroute.cli.help import command
from batchroute.cli.output import log, show, show_json
from batchroute.cli.places import kind_of, run_at
from batchroute.errors import UsageFault
from batchroute.report.export.writers import AUTO, WRITERS
from batchroute.show.words import count, whatif_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchroute.report.by import Breakdown
    from batchroute.report.figures import Report


@command(
    "report runs/first",
    "report runs/2026-11-27 runs/2026-11-28",
    "report runs/first --html report.html",
    exits=(4,),
)
@click.argument("runs", metavar="RUN...", type=RUN, nargs=-1)
@click.option("--by", metavar="COLUMN", help="Divide the bill by a kept column, route, model, day ...")
@click.option(
    "--top", type=click.IntRange(min=1), metavar="N", help="With --by: a line for the N costliest values."
)
@click.option("--csv", "table", type=FILE, metavar="FILE", help="With --by: write the lines as CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--html",
    is_flag=False,
    flag_value="",
    metavar="[FILE]",
    help="Write one self-contained page; without FILE as report.html in the run's directory.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Rows to show on the page, with their texts; also what errors say.",
)
def report(
    runs: Sequence[Path],
    by: str | None,
    top: int | None,
    table: Path | None,
    as_json: bool,
    html: str | None,
    samples: int,
) -> int:
    """Say what a run did and cost; several runs are compared.

    With --by the bill of all the runs is divided by the values of a column: one that the job keeps (input.keep),
    or route, model, day (UTC), status, error_type, service_tier ... The lines add up to the total.
    """
    from batchroute.report.build import build_report
    from batchroute.report.comparison import compare
    from batchroute.report.figures import json_text
    from batchroute.show.comparison import render_comparison
    from batchroute.show.report import render_report

    page, runs = None, [run_at(run) for run in runs]
    if html is not None:
        runs, page = _runs_and_page(runs, html)
    if not runs:
        raise UsageFault("name the directory of a run, or several")
    if by is None and (top is not None or table is not None):
        raise UsageFault("--top and --csv divide a bill; name the column with --by")
    breakdown = None if by is None else _divided(runs, by, top or _lines(page), table)
    if breakdown is not None and page is None:
        return _show_divided(breakdown, table, as_json)
    reports = [build_report(path) for path in runs]
    if page is not None:
        _write_page(page, runs, reports, breakdown, samples)
    elif as_json:
        show_json(json_text(reports[0] if len(reports) == 1 else compare(reports)))
    else:
        show(render_report(reports[0]) if len(reports) == 1 else render_comparison(compare(reports)))
    return 0


def _lines(page: Path | None) -> int | None:
    from batchroute.report.by import TOP_ON_PAGE

    return None if page is None else TOP_ON_PAGE


def _divided(runs: Sequence[Path], column: str, top: int | None, table: Path | None) -> Breakdown:
    """The bill by a column, also as CSV where `table` is a file."""
    from batchroute.report.by import spending_by
    from batchroute.report.export.breakdown import write_breakdown

    bill = spending_by(runs, column, top=top)
    if table is not None:
        write_breakdown(bill, table)
        log.info(f"the bill by {bill.column} is in {table}")
    return bill


def _show_divided(bill: Breakdown, table: Path | None, as_json: bool) -> int:
    from batchroute.report.figures import json_text
    from batchroute.show.by import render_breakdown

    if as_json:
        show_json(json_text(bill))
    elif table is None:
        show(render_breakdown(bill))
    return 0


def _runs_and_page(runs: Sequence[Path], html: str) -> tuple[Sequence[Path], Path]:
    """What to report, and the file to write; without a name it lies in the directory of the run."""
    from batchroute.store.files import refuse_homeless
    from batchroute.store.layout import RunLayout

    if html and Path(html).is_dir():  # `report --html RUN`: what follows the flag is a run, not a file
        runs, html = [*runs, Path(html)], ""
    if not html and len(runs) > 1:
        raise UsageFault("several runs on one page: name its file, as --html nights.html")
    if html and Path(html).suffix not in {".html", ".htm"}:
        raise UsageFault(f"--html {html}: give a name that ends in .html")
    page = Path(html) if html or not runs else RunLayout(runs[0]).page
    refuse_homeless(page)
    return runs, page


def _write_page(
    page: Path, runs: Sequence[Path], reports: Sequence[Report], by: Breakdown | None, samples: int
) -> None:
    from batchroute.report.comparison import compare
    from batchroute.report.details import read_details
    from batchroute.show.page.render import render_nights, render_run
    from batchroute.store.files import AS_UMASK_SAYS, saving, write_whole

    if len(reports) == 1:
        text = render_run(reports[0], read_details(runs[0], samples=samples), by)
    else:
        text = render_nights(compare(reports), by)
    with saving(page):
        write_whole(page, text.encode(), mode=AS_UMASK_SAYS)
    log.info(f"the report is in {page}")


@command(
    "whatif runs/first --strong-fraction 0.1", "whatif runs/first --threshold 0.6 --output second.toml", exits=(4,)
)
@click.argument("run_directory", metavar="RUN", type=RUN)
@click.option("--threshold", type=threshold_of, metavar="T", help="Lowest score that goes strong.")
@click.option("--strong-fraction", type=share_of, metavar="F", help="Share that is to go strong.")
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
    run_directory = run_at(run_directory)
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


@command("export runs/first answers.jsonl", "export runs/first bill.csv --focus", exits=(4,))
@click.argument("run_directory", metavar="RUN", type=RUN)
@click.argument("out", metavar="OUT", type=FILE)
@click.option("--format", type=click.Choice([AUTO, *WRITERS]), default=AUTO, help="How to write.")
@click.option("--exact", is_flag=True, help="Leave cells of a CSV that look like formulas as they are.")
@click.option("--focus", is_flag=True, help="Write the bill instead, as FOCUS 1.2 rows for finance tools.")
@click.option("--tag", metavar="COLUMN", help="With --focus: a kept column whose values become a tag.")
@click.option("--account", metavar="ID", help="With --focus: the BillingAccountId; the API's host by default.")
def export(
    run_directory: Path,
    out: Path,
    format: str,  # noqa: A002  # the flag
    exact: bool,
    focus: bool,
    tag: str | None,
    account: str | None,
) -> int:
    """Write a run's results in input order as one file.

    OUT ends in .parquet, .jsonl or .csv. With --focus it is the run's bill, .parquet or .csv: one row a day (UTC),
    model, tier of service and kind of token, in the columns of the FinOps Open Cost and Usage Specification 1.2.
    """
    if kind_of(out) == "run" and kind_of(run_directory) != "run":
        raise UsageFault(f"the run comes first: batchroute export {shlex.join([str(out), str(run_directory)])}")
    run_directory = run_at(run_directory)
    if focus:
        return _export_focus(run_directory, out, format, tag=tag, account=account, exact=exact)
    if tag is not None or account is not None:
        raise UsageFault("--tag and --account are for the rows of --focus")
    from batchroute.report.export.files import export_run

    rows = export_run(run_directory, out, format=format, exact=exact)
    log.info(f"{count(rows)} rows: {out}")
    return 0


def _export_focus(
    run_directory: Path, out: Path, style: str, *, tag: str | None, account: str | None, exact: bool
) -> int:
    from batchroute.report.export.focus_file import export_focus

    if style != AUTO:
        raise UsageFault("--format is how results are written; the ending of OUT says it for --focus")
    rows = export_focus(run_directory, out, tag=tag, account=account, exact=exact)
    log.info(f"{count(rows)} FOCUS 1.2 rows: {out}")
    return 0
