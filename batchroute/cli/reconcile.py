"""The command that lays a provider's bill beside what runs cost: reconcile."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import click

from batchroute.cli.flags import FILE, pairs, usd_of
from batchroute.cli.help import command
from batchroute.cli.output import show, show_json
from batchroute.cli.places import run_at

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_NEXT_KEY = re.compile(r",(?=[a-z]+=)")  # a column's name may have a comma in it
_DIFFERS = 3


@command(
    "reconcile runs/first --invoice costs.csv",
    "reconcile runs/2026-11-* --invoice usage.csv --columns usd=Amount",
    exits=(_DIFFERS, 4),
)
@click.argument("runs", metavar="RUN...", type=FILE, nargs=-1, required=True)
@click.option("--invoice", type=FILE, required=True, metavar="FILE.csv", help="The provider's table.")
@click.option(
    "--columns",
    multiple=True,
    metavar="KEY=NAME",
    help="What a column of it is: date, model, usd, cents, currency, prompt, output; repeatable.",
)
@click.option("--dates", type=click.Choice(["mdy", "dmy"]), help="How it writes days such as 04/05/2026.")
@click.option("--within", default="0.01", metavar="USD", help="What a line may differ by; 0.01 by default.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def reconcile(
    runs: Sequence[Path],
    invoice: Path,
    columns: Sequence[str],
    dates: Literal["mdy", "dmy"] | None,
    within: str,
    as_json: bool,
) -> int:
    """Lay a provider's bill beside what runs cost.

    Per day (UTC) and model; each difference comes with what may have made it, and how much of it. The file is an
    export of OpenAI, Anthropic, Azure or OpenRouter, a FOCUS dataset, or any CSV with a date, a model and USD;
    without amounts the tokens are compared. Exit code 3: some line differs by more than --within.
    """
    from batchroute.report.figures import json_text
    from batchroute.report.invoice.compare import reconcile as compare_with
    from batchroute.show.reconcile import render_reconciliation

    said = pairs("--columns", [text for given in columns for text in _NEXT_KEY.split(given)])
    runs = [run_at(run) for run in runs]
    found = compare_with(runs, invoice, columns=said, dates=dates, within_usd=usd_of("--within", within))
    if as_json:
        show_json(json_text(found))
    else:
        show(render_reconciliation(found))
    return 0 if found.agrees else _DIFFERS
