"""Send every prompt of a big file to the right model at the lowest cost.

    from batchroute import load_job, run, RunOptions

    end = run(load_job(Path("job.toml"), environ=os.environ), RunOptions(environ=os.environ))

Names are imported when they are first used: the package itself brings nothing heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchroute.check import check_job as check_job
    from batchroute.controller import Controller as Controller
    from batchroute.engine import RunEnd as RunEnd
    from batchroute.engine import RunOptions as RunOptions
    from batchroute.engine import arun_job as arun
    from batchroute.engine import run_job as run
    from batchroute.errors import BatchrouteError as BatchrouteError
    from batchroute.errors import RoutingError as RoutingError
    from batchroute.errors import Unanswered as Unanswered
    from batchroute.export import export_run as export_run
    from batchroute.followup import write_followup as write_followup
    from batchroute.job import Job as Job
    from batchroute.jobfile import load_job as load_job
    from batchroute.planning import Plan as Plan
    from batchroute.planning import plan_job as plan
    from batchroute.report import Report as Report
    from batchroute.report import build_report as build_report
    from batchroute.train import train_model as train_model
    from batchroute.whatif import what_if as what_if

__version__ = "0.1.0"

_HOMES = {
    "BatchrouteError": ("batchroute.errors", "BatchrouteError"),
    "Controller": ("batchroute.controller", "Controller"),
    "Job": ("batchroute.job", "Job"),
    "Plan": ("batchroute.planning", "Plan"),
    "Report": ("batchroute.report", "Report"),
    "RoutingError": ("batchroute.errors", "RoutingError"),
    "RunEnd": ("batchroute.engine", "RunEnd"),
    "RunOptions": ("batchroute.engine", "RunOptions"),
    "Unanswered": ("batchroute.errors", "Unanswered"),
    "arun": ("batchroute.engine", "arun_job"),
    "build_report": ("batchroute.report", "build_report"),
    "check_job": ("batchroute.check", "check_job"),
    "export_run": ("batchroute.export", "export_run"),
    "load_job": ("batchroute.jobfile", "load_job"),
    "plan": ("batchroute.planning", "plan_job"),
    "run": ("batchroute.engine", "run_job"),
    "train_model": ("batchroute.train", "train_model"),
    "what_if": ("batchroute.whatif", "what_if"),
    "write_followup": ("batchroute.followup", "write_followup"),
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
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)
