"""Send every prompt of a big file to the right model at the lowest cost.

    import batchroute as br

    run = br.run("job.toml")
    run = br.run(df, prompt="text", strong="gpt-6.1-sol", weak="gpt-6-luna", strong_fraction=0.1)
    run.df()

Every command has a function of its name; `quality_threshold` is what a pilot decides by, on plain arrays. Names
are imported when they are first used: the package itself brings nothing heavy. The rooms are listed in
`batchroute/README.md`.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchroute.errors import BatchrouteError as BatchrouteError
    from batchroute.errors import InputFault as InputFault
    from batchroute.errors import JobFault as JobFault
    from batchroute.errors import ModelFault as ModelFault
    from batchroute.errors import RoutingError as RoutingError
    from batchroute.errors import RunFault as RunFault
    from batchroute.errors import Stopped as Stopped
    from batchroute.errors import Unanswered as Unanswered
    from batchroute.errors import UsageFault as UsageFault
    from batchroute.job.spec import Job as Job
    from batchroute.python.commands import calibrate as calibrate
    from batchroute.python.commands import check as check
    from batchroute.python.commands import compare as compare
    from batchroute.python.commands import export as export
    from batchroute.python.commands import export_focus as export_focus
    from batchroute.python.commands import plan as plan
    from batchroute.python.commands import reconcile as reconcile
    from batchroute.python.commands import report as report
    from batchroute.python.commands import report_by as report_by
    from batchroute.python.commands import show as show
    from batchroute.python.commands import status as status
    from batchroute.python.commands import whatif as whatif
    from batchroute.python.jobs import load_job as load_job
    from batchroute.python.jobs import make_job as make_job
    from batchroute.python.result import Run as Run
    from batchroute.python.result import open_run as open_run
    from batchroute.python.routers import evaluate as evaluate
    from batchroute.python.routers import score as score
    from batchroute.python.routers import train as train
    from batchroute.python.run import IncompleteRun as IncompleteRun
    from batchroute.python.run import arun as arun
    from batchroute.python.run import pilot as pilot
    from batchroute.python.run import run as run
    from batchroute.python.servers import serve as serve
    from batchroute.python.servers import simulate as simulate
    from batchroute.quality.promise import Choice as Choice
    from batchroute.quality.promise import quality_threshold as quality_threshold
    from batchroute.report.figures import Report as Report
    from batchroute.run.plan import Plan as Plan
    from batchroute.serve.controller import Controller as Controller

__version__ = "0.1.0"

_HOMES = {
    "BatchrouteError": "batchroute.errors",
    "Choice": "batchroute.quality.promise",
    "Controller": "batchroute.serve.controller",
    "IncompleteRun": "batchroute.python.run",
    "InputFault": "batchroute.errors",
    "Job": "batchroute.job.spec",
    "JobFault": "batchroute.errors",
    "ModelFault": "batchroute.errors",
    "Plan": "batchroute.run.plan",
    "Report": "batchroute.report.figures",
    "RoutingError": "batchroute.errors",
    "Run": "batchroute.python.result",
    "RunFault": "batchroute.errors",
    "Stopped": "batchroute.errors",
    "Unanswered": "batchroute.errors",
    "UsageFault": "batchroute.errors",
    "arun": "batchroute.python.run",
    "calibrate": "batchroute.python.commands",
    "check": "batchroute.python.commands",
    "compare": "batchroute.python.commands",
    "evaluate": "batchroute.python.routers",
    "export": "batchroute.python.commands",
    "export_focus": "batchroute.python.commands",
    "load_job": "batchroute.python.jobs",
    "make_job": "batchroute.python.jobs",
    "open_run": "batchroute.python.result",
    "pilot": "batchroute.python.run",
    "plan": "batchroute.python.commands",
    "quality_threshold": "batchroute.quality.promise",
    "reconcile": "batchroute.python.commands",
    "report": "batchroute.python.commands",
    "report_by": "batchroute.python.commands",
    "run": "batchroute.python.run",
    "score": "batchroute.python.routers",
    "serve": "batchroute.python.servers",
    "show": "batchroute.python.commands",
    "simulate": "batchroute.python.servers",
    "status": "batchroute.python.commands",
    "train": "batchroute.python.routers",
    "whatif": "batchroute.python.commands",
}
__all__ = [
    "BatchrouteError",
    "Choice",
    "Controller",
    "IncompleteRun",
    "InputFault",
    "Job",
    "JobFault",
    "ModelFault",
    "Plan",
    "Report",
    "RoutingError",
    "Run",
    "RunFault",
    "Stopped",
    "Unanswered",
    "UsageFault",
    "__version__",
    "arun",
    "calibrate",
    "check",
    "compare",
    "evaluate",
    "export",
    "export_focus",
    "load_job",
    "make_job",
    "open_run",
    "pilot",
    "plan",
    "quality_threshold",
    "reconcile",
    "report",
    "report_by",
    "run",
    "score",
    "serve",
    "show",
    "simulate",
    "status",
    "train",
    "whatif",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


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
