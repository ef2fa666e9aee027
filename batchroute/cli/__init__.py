"""Words in, exit code out: the commands, their flags, and what they print.

    output    where it is said             flags     the flags that commands share
    help      what --help looks like       recipes   the job files that ship
    demo      demo                         init      init
    requests  show                         settings  settings, schema
    job       run, pilot, check, plan      scores    score, calibrate
    results   report, whatif, export       tools     train, evaluate, serve, simulate
    again     a command that takes over    places    what a path is, and what was meant
    status    status                       reconcile reconcile

Decides nothing that a function elsewhere could decide, and imports what a command needs only when it runs, so that
`--help` is there at once.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from batchroute import __version__
from batchroute.cli.demo import demo
from batchroute.cli.help import PROGRAM, Commands
from batchroute.cli.init import init
from batchroute.cli.job import check, pilot, plan, run
from batchroute.cli.output import log, setup_logging
from batchroute.cli.places import meant_usage
from batchroute.cli.reconcile import reconcile
from batchroute.cli.requests import show
from batchroute.cli.results import export, report, whatif
from batchroute.cli.scores import calibrate, score
from batchroute.cli.settings import schema, settings
from batchroute.cli.status import status
from batchroute.cli.tools import evaluate, serve, simulate, train
from batchroute.errors import BatchrouteError, Stopped, UsageFault
from batchroute.run.streams import open_standard_streams, take_loss

if TYPE_CHECKING:
    from collections.abc import Sequence


_COMPLETING = f"_{PROGRAM.upper()}_COMPLETE"  # as click names it


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line. Errors the user can act on are one message and an exit code, all others a traceback."""
    if _COMPLETING not in os.environ:  # what a shell completes click writes as bytes, which those streams refuse
        open_standard_streams()
    setup_logging("text", quiet=False)
    # Two allocators keep what each has freed from the other: Arrow's own makes a run a tenth larger.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    try:
        code = cli.main(arguments, standalone_mode=False) or 0
        if (loss := take_loss()) is not None:
            log.error(loss)
            code = code or Stopped.exit_code
        sys.exit(code)
    except click.ClickException as error:
        error.show()
        if (words := meant_usage(error, sys.argv[1:] if arguments is None else arguments)) is not None:
            log.error(words)
        sys.exit(UsageFault.exit_code)
    except (click.Abort, KeyboardInterrupt):  # the latter where click has returned already
        sys.exit(130)
    except BatchrouteError as error:
        log.error(str(error))
        sys.exit(error.exit_code)


@click.group(
    cls=Commands,
    sections={
        "First steps": (demo, init, check, show),
        "Run": (plan, pilot, run, serve),
        "Look": (status, report, whatif, export, reconcile),
        "Route": (score, calibrate, train, evaluate),
        "Reference": (settings, schema, simulate),
    },
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name=PROGRAM)
def cli() -> None:
    """Send every prompt of a big file to the right model at the lowest cost.

    A job file says where the prompts are, which two endpoints answer them, and what share goes to the strong one.
    """
