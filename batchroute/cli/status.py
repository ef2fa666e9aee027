"""The command that says how runs are doing: status. Reads small files only, and waits for nothing."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from batchroute.cli.flags import RUN
from batchroute.cli.help import command
from batchroute.cli.output import show_json
from batchroute.cli.places import run_at
from batchroute.errors import UsageFault
from batchroute.show.words import harmless

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@command("status runs/nightly", "status runs/* --json", exits=())
@click.argument("runs", metavar="RUN...", type=RUN, nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(runs: Sequence[Path], as_json: bool) -> int:
    """Say how runs are doing, or how they ended.

    Of a run at work also who works, how far it is, and what each lane does. A run is running, complete, refusals
    (every row has ended, more were refused than limits.ok_if_refused lets pass) or incomplete. Several runs have a
    line each.
    """
    from batchroute.report.figures import json_text
    from batchroute.report.standing import Standings, standing_of
    from batchroute.show.standing import standing_line, standing_lines

    if not runs:
        raise UsageFault("name the directory of a run, or several")
    standings = [standing_of(run_at(run)) for run in runs]
    if as_json:
        show_json(json_text(standings[0] if len(standings) == 1 else Standings(standings)))
        return 0
    now = datetime.now().astimezone()
    lines = standing_lines(standings[0], now) if len(standings) == 1 else map(standing_line, standings)
    click.echo(harmless("\n".join(lines)))
    return 0
