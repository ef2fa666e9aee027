"""What a job's run directory knows of it already: threshold and scores. Only reads, also beside a run at work.

A directory of another router, or another input, knows nothing of this job.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from batchroute.errors import UsageFault
from batchroute.job.settings import changed_settings
from batchroute.job.spec import RoutingSpec
from batchroute.learn.own.build import JOB
from batchroute.report.figures import read_plan
from batchroute.run.pilot.found import found_by_pilot, planned_threshold
from batchroute.run.pilot.routers import router_named
from batchroute.store.identity import identity_of, known_identity
from batchroute.store.layout import RunLayout
from batchroute.store.scores import Scores
from batchroute.store.shard_scores import leading_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchroute.input.file import Fingerprint
    from batchroute.input.open import Source
    from batchroute.job.spec import Job
    from batchroute.store.identity import Identity
    from batchroute.store.scores import ScorePart

_SCORES_HANG_ON = ("input.", "router.")
# Of the input only a new run depends, not what a server does with other prompts.
_THRESHOLD_HANGS_ON = ("router.", "routing.")


def kept_threshold(job: Job) -> float | None:
    """The job's own, else that of a run in its directory, of its pilot, or its plan; None: not known yet."""
    if job.routing.threshold is not None:
        return job.routing.threshold
    run = RunLayout(Path(job.output.path))
    identity = known_identity(run)
    if identity is None or _differs(identity, job, identity.files, _THRESHOLD_HANGS_ON):
        return None
    plan = read_plan(run.path) if identity.threshold is None else None
    found = identity.threshold if plan is None else plan.threshold
    if found is None and (chosen := found_by_pilot(job)) is not None:
        found = planned_threshold(chosen, Scores(run.scores).free())
    return found if found is not None and math.isfinite(found) else None  # over no rows at all it is infinite


def served_job(job: Job) -> Job:
    """The job as a server works with it: without a pilot, and where one decides, as it did in the run directory.

    That is its threshold, and its router, where one that was learnt there routes. UsageFault where no run there
    has come so far.
    """
    if job.routing.quality is None:
        return job.model_copy(update={"pilot": None})
    threshold, run = kept_threshold(job), RunLayout(Path(job.output.path))
    if threshold is None:
        raise UsageFault(
            f"routing.quality: a server has no pilot, and no run in {run.path} has come to a threshold; "
            "`batchroute pilot` or `run` of this job finds it, or name one with --set routing.threshold=T"
        )
    identity, found = known_identity(run), found_by_pilot(job)
    name = None if identity is None else identity.router
    if (identity is None or identity.threshold is None) and found is not None and found.router != JOB:
        # A plan goes by scores that are there, a server by the router that the pilot measured.
        name, threshold = found.router, found.threshold
    update = {"pilot": None, "router": router_named(name, job, run), "routing": RoutingSpec(threshold=threshold)}
    return job.model_copy(update=update)


def kept_scores(job: Job, source: Source) -> list[ScorePart]:
    """The scored rows from the input's first one on; none where they are of another router or another input."""
    run = RunLayout(Path(job.output.path))
    identity = known_identity(run)
    if identity is None or _differs(identity, job, source.fingerprint(), _SCORES_HANG_ON):
        return []
    return leading_parts(run) if run.shards.exists() else Scores(run.scores).parts


def _differs(identity: Identity, job: Job, files: Sequence[Fingerprint], sections: tuple[str, ...]) -> bool:
    """Whether the directory is held to other settings in these sections; those of `files` are in FILES."""
    changed = changed_settings(identity.frozen, identity_of(job, files).frozen)
    return any(key.startswith(sections) for key in changed)
