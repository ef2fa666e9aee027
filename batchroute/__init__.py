"""Send every prompt of a big file to the right model at the lowest cost.

    from batchroute import RunOptions, load_job, run

    end = run(load_job(Path("job.toml"), environ=os.environ), RunOptions(environ=os.environ))

Names are imported when they are first used: the package itself brings nothing heavy. The rooms are listed in
`batchroute/README.md`.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchroute.errors import BatchrouteError as BatchrouteError
    from batchroute.errors import RoutingError as RoutingError
    from batchroute.errors import Unanswered as Unanswered
    from batchroute.job.load import load_job as load_job
    from batchroute.job.spec import Job as Job
    from batchroute.learn.train.build import train_model as train_model
    from batchroute.report.build import build_report as build_report
    from batchroute.report.export.files import export_run as export_run
    from batchroute.report.figures import Report as Report
    from batchroute.run.check import check_job as check_job
    from batchroute.run.end import RunEnd as RunEnd
    from batchroute.run.engine import RunOptions as RunOptions
    from batchroute.run.engine import arun_job as arun
    from batchroute.run.engine import run_job as run
    from batchroute.run.followup import write_followup as write_followup
    from batchroute.run.plan import Plan as Plan
    from batchroute.run.plan import plan_job as plan
    from batchroute.run.whatif import what_if as what_if
    from batchroute.serve.controller import Controller as Controller

__version__ = "0.1.0"

_HOMES = {
    "BatchrouteError": "batchroute.errors:BatchrouteError",
    "Controller": "batchroute.serve.controller:Controller",
    "Job": "batchroute.job.spec:Job",
    "Plan": "batchroute.run.plan:Plan",
    "Report": "batchroute.report.figures:Report",
    "RoutingError": "batchroute.errors:RoutingError",
    "RunEnd": "batchroute.run.engine:RunEnd",
    "RunOptions": "batchroute.run.engine:RunOptions",
    "Unanswered": "batchroute.errors:Unanswered",
    "arun": "batchroute.run.engine:arun_job",
    "build_report": "batchroute.report.build:build_report",
    "check_job": "batchroute.run.check:check_job",
    "export_run": "batchroute.report.export.files:export_run",
    "load_job": "batchroute.job.load:load_job",
    "plan": "batchroute.run.plan:plan_job",
    "run": "batchroute.run.engine:run_job",
    "train_model": "batchroute.learn.train.build:train_model",
    "what_if": "batchroute.run.whatif:what_if",
    "write_followup": "batchroute.run.followup:write_followup",
}
__all__ = [
    "BatchrouteError",
    "Controller",
    "Job",
    "Plan",
    "Report",
    "RoutingError",
    "RunEnd",
    "RunOptions",
    "Unanswered",
    "__version__",
    "arun",
    "build_report",
    "check_job",
    "export_run",
    "load_job",
    "plan",
    "run",
    "train_model",
    "what_if",
    "write_followup",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__


class _Package(ModuleType):
    """The package, some of whose functions have the names of rooms.

    Importing `batchroute.run.engine` makes Python put the room `run` where the function `run` is looked for. Rooms
    are found by their full names whatever stands there, so the place is kept for the function.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
