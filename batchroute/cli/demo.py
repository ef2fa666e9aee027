"""The command that shows a whole run without a key, a network or a bill: demo.

It is `run` with a job that ships; knows what to say after it, and where a next demo goes.
"""

from __future__ import annotations

import shlex
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchroute.cli.flags import FILE
from batchroute.cli.help import command
from batchroute.cli.job import run
from batchroute.cli.recipes import recipe
from batchroute.errors import UsageFault
from batchroute.show.words import money, percent

if TYPE_CHECKING:
    from batchroute.report.figures import Report

_WHERE = "runs/demo"


@command("demo", "demo --output /tmp/demo", exits=(4, 130))
@click.option("--output", type=FILE, metavar="DIR", help=f"The run directory; else the next free {_WHERE}.")
@click.pass_context
def demo(context: click.Context, output: Path | None) -> int:
    """Show a whole run without a key, a network or a bill.

    Scores 320 prompts that ship with batchroute and sends each to one of two providers that are simulated in this
    process. Stop it with Ctrl-C and call it again: it goes on where it stopped.
    """
    from batchroute.report.figures import read_report

    where = output or _next_free()
    _refuse_unwritable(where)
    code: int = context.invoke(run, job_file=recipe("demo"), output=where)
    report = read_report(where)
    if code == 0 and report is not None:
        click.echo(_saved(report))
        click.echo(_what_next(where))
    return code


def _next_free() -> Path:
    """The first of runs/demo, runs/demo-2 ... that holds no whole run: one that was stopped goes on."""
    from batchroute.store.layout import RunLayout

    paths = (Path(_WHERE if number == 1 else f"{_WHERE}-{number}") for number in count(1))
    return next(path for path in paths if not RunLayout(path).success.exists())


def _refuse_unwritable(where: Path) -> None:
    """UsageFault where no run directory can be made: the current folder may be anybody's."""
    from batchroute.store.files import make_directory

    try:
        make_directory(where, 0o700)
    except OSError as fault:
        what = fault.strerror or fault
        raise UsageFault(f"{where.absolute()}: cannot be made ({what}); name another with --output DIR") from fault


def _saved(report: Report) -> str:
    strong = next(bill.model for bill in report.models if bill.route == "strong")
    paid, alone = money(report.total_usd), money(report.all_strong_usd)
    return (
        f"\nSIMULATED answers at today's prices: {paid} USD with routing, {alone} with\n"
        f"{strong} alone, {percent(report.savings_fraction)} saved."
    )


def _what_next(where: Path) -> str:
    name = shlex.quote(str(where))
    commands = {
        f"batchroute report {name}": "this table again",
        f"batchroute whatif {name} --strong-fraction 0.1": "at another share",
        "batchroute init": "a job of your own",
    }
    width = max(map(len, commands))
    return "\n".join(["", "Next:", *(f"  {words:{width}}  {what}" for words, what in commands.items())])
