"""What a finished pilot left in a run directory: the threshold it chose, and what another one costs and keeps.

Reads files, grades nothing and sends nothing. Money in USD.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from batchroute.learn.own.build import JOB
from batchroute.quality.promise import kept_by_share
from batchroute.quality.ranks import threshold_for_share
from batchroute.quality.shares import JobScores
from batchroute.report.quality import read_quality
from batchroute.route.forecast.evidence import Band
from batchroute.route.forecast.pilot import NOTHING
from batchroute.run.pilot.files import promised_rows
from batchroute.store.pilot import read_pilot_bill
from batchroute.store.scores import Scores

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchroute.job.spec import Job
    from batchroute.quality.promise import Tested
    from batchroute.report.quality import Quality
    from batchroute.store.layout import RunLayout
    from batchroute.types import Floats


def found_by_pilot(job: Job) -> Quality | None:
    """What a finished pilot in the job's directory found, for the target that the job has now."""
    found = None if job.pilot is None else read_quality(Path(job.output.path))
    routing = job.routing
    is_of_job = found is not None and (found.target, found.confidence) == (routing.quality, routing.confidence)
    return found if is_of_job else None


def chosen_threshold(found: Quality, scores: Iterable[Floats]) -> float | None:
    """The threshold that the pilot chose, over all free `scores` of the router in use; None: it chose none."""
    if found.verdict is None:
        return None
    if found.verdict in {"all weak", "weak is better"}:
        return threshold_for_share(scores, 0.0)[0]
    return 0.0 if found.verdict == "all strong" else found.threshold


def planned_threshold(found: Quality, scores: Iterable[Floats]) -> float | None:
    """The same over the `scores` of the job's own router: that of the same share, where another is to route."""
    if found.verdict == "route" and found.router != JOB and found.strong_share is not None:
        return threshold_for_share(scores, found.strong_share)[0]
    return chosen_threshold(found, scores)


def paid_beside(run: RunLayout, threshold: float | None) -> Band | None:
    """What a finished pilot costs beside its rows: the answers of the sides they are not routed to, and the judge.

    At a threshold it is one amount. None: a cost is unknown, or its rows are not on file. One that was taken over
    from an earlier run cost nothing here.
    """
    bill, found = read_pilot_bill(run), read_quality(run.path)
    if found is not None and found.reused:
        return NOTHING
    if not run.pilot_rows.exists() or not bill.complete:
        return None
    table = pq.read_table(run.pilot_rows, columns=["score", "strong_cost_usd", "weak_cost_usd"])
    score, strong, weak = (column.to_numpy().astype(np.float64) for column in table.columns)
    if np.isnan(strong).any() or np.isnan(weak).any():
        return None
    judge = float(bill.judge_usd)
    if threshold is not None:
        usd = float(np.where(score >= threshold, weak, strong).sum()) + judge
        return Band(usd, usd, usd)
    ends = sorted((float(strong.sum()) + judge, float(weak.sum()) + judge))
    return Band(ends[0], sum(ends) / 2, ends[1])


def kept_at(run: RunLayout, threshold: float) -> Tested | None:
    """What the pilot's grades say of a threshold over the run's scores, at the nearest share of their grid.

    None where there is no pilot that is at its end.
    """
    found = read_quality(run.path)
    if found is None or not run.pilot_rows.exists():
        return None
    rows, scores = promised_rows(run), Scores(run.scores).free()
    if not len(rows):
        return None
    score, strong, weak = (rows[name].to_numpy() for name in ("score", "strong_grade", "weak_grade"))
    grid = kept_by_share(score, strong, weak, confidence=found.confidence, job_scores=JobScores.read(scores))
    share = _share_at(threshold, scores)
    return min(grid, key=lambda each: abs(each.strong_share - share))


def _share_at(threshold: float, scores: Iterable[Floats]) -> float:
    rows = strong = 0
    for part in scores:
        rows += len(part)
        strong += int(np.count_nonzero(part >= threshold))
    return strong / rows if rows else 0.0
