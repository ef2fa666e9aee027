"""What a job's run directory knows of it already: threshold and scores. Only reads, also beside a run at work.

A directory of another router, or another input, knows nothing of this job.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from batchroute.job.settings import changed_settings
from batchroute.report.figures import read_plan
from batchroute.store.identity import identity_of, known_identity
from batchroute.store.layout import RunLayout
from batchroute.store.scores import Scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchroute.input.file import Fingerprint
    from batchroute.input.open import Source
    from batchroute.job.spec import Job
    from batchroute.store.identity import Identity
    from batchroute.store.scores import Shard

_SCORES_HANG_ON = ("input.", "router.")
# Of the input only a new run depends, not what a server does with other prompts.
_THRESHOLD_HANGS_ON = ("router.", "routing.")


def kept_threshold(job: Job) -> float | None:
    """The job's own, else the one that a run in its directory settled on, else its plan's; None: not known yet."""
    if job.routing.threshold is not None:
        return job.routing.threshold
    run = RunLayout(Path(job.output.path))
    identity = known_identity(run)
    if identity is None or _differs(identity, job, identity.files, _THRESHOLD_HANGS_ON):
        return None
    plan = read_plan(run.path) if identity.threshold is None else None
    found = identity.threshold if plan is None else plan.threshold
    return found if found is not None and math.isfinite(found) else None  # over no rows at all it is infinite


def kept_scores(job: Job, source: Source) -> list[Shard]:
    """The scored rows from the input's first one on; none where they are of another router or another input."""
    run = RunLayout(Path(job.output.path))
    identity = known_identity(run)
    if identity is None or _differs(identity, job, source.fingerprint(), _SCORES_HANG_ON):
        return []
    return Scores(run.scores).shards


def _differs(identity: Identity, job: Job, files: Sequence[Fingerprint], sections: tuple[str, ...]) -> bool:
    """Whether the directory is held to other settings in these sections; those of `files` are in FILES."""
    changed = changed_settings(identity.frozen, identity_of(job, files).frozen)
    return any(key.startswith(sections) for key in changed)
