"""An earlier run's pilot in the place of a new one, as long as it fits: the same question to the same models.

Its graded rows, and the watched rows of that night, are the sample; the thresholds are of this night's scores.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batchroute.grade.pairwise import pairwise_digest
from batchroute.grade.rubric import rubric_digest
from batchroute.job.settings import changed_settings, frozen_settings
from batchroute.learn.own.parts import PROMISED
from batchroute.report.comparison import drift
from batchroute.report.figures import read_report
from batchroute.report.quality import read_quality
from batchroute.store.files import saving, whole_file
from batchroute.store.identity import read_identity
from batchroute.store.layout import RunLayout

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchroute.job.pilot import PilotSpec
    from batchroute.job.spec import Job
    from batchroute.report.quality import Quality
    from batchroute.types import Floats

BINS = 100  # of report.json's histogram of scores
# What the grades hang on: what is asked, of whom, what scores and what judges.
_FITS = (
    *("input.system", "input.template", "input.params", "router.", "endpoints.", "check."),
    *(f"pilot.{key}" for key in ("judge", "reference", "match", "criteria", "endpoint.")),
)


@dataclass(frozen=True, slots=True)
class EarlierPilot:
    """The pilot of the run in `layout`, and what it `found`."""

    layout: RunLayout
    found: Quality


def earlier_pilot(job: Job, pilot: PilotSpec) -> EarlierPilot | str:
    """The pilot of pilot.reuse, as far as settings tell; else why it does not fit."""
    layout = RunLayout(Path(pilot.reuse or ""))
    if not layout.path.exists():
        return f"{layout.path} is not there"
    found = read_quality(layout.path)
    if found is None or not layout.pilot_rows.exists():
        return f"{layout.path} has no pilot that came to its end"
    frozen = read_identity(layout).frozen
    before = {key: value for key, value in frozen.items() if key.startswith(_FITS)}
    now = {key: value for key, value in frozen_settings(job).items() if key.startswith(_FITS)}
    if changed := changed_settings(before, now):
        return f"{', '.join(changed)} changed"
    if found.judge_digest != judge_digest(pilot):
        return "the judge was asked in other words"
    return EarlierPilot(layout, found)


def judge_digest(pilot: PilotSpec) -> str | None:
    """What a judge that is a model is asked, in one word; None for any other."""
    if pilot.judge == "rubric":
        return rubric_digest(pilot.criteria)
    return pairwise_digest(pilot.criteria) if pilot.judge == "pairwise" else None


def why_scores_differ(earlier: EarlierPilot, scores: Iterable[Floats]) -> str | None:
    """In words that the prompts of the run have changed since, by the measure that `report` compares nights by."""
    report = read_report(earlier.layout.path)
    histogram = np.zeros(BINS, np.int64)
    for part in scores:
        histogram += np.histogram(part[~np.isnan(part)], BINS, (0, 1))[0]
    found = None if report is None else drift(report.score_histogram, histogram.tolist())
    if found is None:
        return "its scores are not known"
    return f"{found.verdict} (drift {found.psi:.2f})" if found.is_shift else None


def take_over(earlier: EarlierPilot, layout: RunLayout) -> None:
    """Copies its rows, with the watched ones among them, and its router, into a run's own directory."""
    rows = pq.read_table(earlier.layout.pilot_rows)
    if earlier.layout.watched_rows.exists():
        watched = pq.read_table(earlier.layout.watched_rows).drop_columns("route")
        count = len(watched)
        watched = watched.append_column("stratum", pa.nulls(count, pa.int32()))
        watched = watched.append_column("part", pa.array([PROMISED] * count, pa.string()))
        rows = pa.concat_tables([rows, watched.select(rows.column_names)])
    with saving(layout.pilot_rows), whole_file(layout.pilot_rows) as unfinished:
        pq.write_table(rows, unfinished, compression="zstd")
    if earlier.layout.own_router.exists():
        with saving(layout.own_router):
            shutil.copytree(earlier.layout.own_router, layout.own_router, dirs_exist_ok=True)
