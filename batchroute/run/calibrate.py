"""The threshold that sends a share of some data strong, or keeps a job within a budget."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchroute.errors import InputFault, UsageFault
from batchroute.job.prices import open_targets
from batchroute.quality.ranks import threshold_for_share
from batchroute.route.forecast.estimator import make_estimator
from batchroute.run.open import open_input
from batchroute.run.prepare import score_into, scored_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from decimal import Decimal

    from batchroute.job.spec import InputSpec, Job, RouterSpec
    from batchroute.types import Floats


@dataclass(frozen=True, slots=True)
class Calibration:
    """`strong_rows` of `rows` reach the threshold; rows without a score, or that demand a side, are in neither.

    A threshold over no rows at all is infinite.
    """

    threshold: float
    strong_fraction: float | None
    strong_rows: int
    rows: int


def refuse_without_aim(job: Job | None, names: tuple[str, str]) -> None:
    """UsageFault where not one of a share and a budget is named; of a job whose pilot decides, with what to do."""
    share, budget = names
    if job is None or job.routing.quality is None:
        raise UsageFault(f"say what the threshold is for: either {share} or {budget}")
    raise UsageFault(
        "routing.quality: the pilot decides the threshold; `batchroute plan JOB` says what it costs, `batchroute "
        "pilot JOB` asks it, `batchroute run JOB` all the rest, too; for a threshold of another kind name either "
        f"{share} or {budget}"
    )


def calibrate_job(job: Job, share: float, limit: int | None, on_rows: Callable[[int], None]) -> Calibration:
    """For a share of a job's input, whose scores are left in the run directory for `run`."""
    with scored_job(job, limit, on_rows) as scored:
        return calibrated_share(scored.scores.free(), share)


def calibrate_budget(
    job: Job, budget_usd: Decimal, limit: int | None, on_rows: Callable[[int], None]
) -> Calibration:
    """The lowest threshold whose predicted cost fits; UsageFault naming the least cost where none does."""
    with scored_job(job, limit, on_rows) as scored:
        estimator = make_estimator(job, open_targets(job.endpoints), scored.source, scored.scores.parts)
        return calibrated(scored.scores.free(), estimator.budget_threshold(budget_usd))


def calibrate_data(
    data: InputSpec, router: RouterSpec, share: float, limit: int | None, on_rows: Callable[[int], None]
) -> Calibration:
    """For a share of a data file's prompts, which are scored here and not kept."""
    source = open_input(data, router, None)
    with tempfile.TemporaryDirectory(prefix="batchroute-") as folder:
        return calibrated_share(score_into(Path(folder), source, router, limit, on_rows).scores.free(), share)


def calibrate_scores(path: Path, share: float, limit: int | None = None) -> Calibration:
    """For a share of the scores in a Parquet file's column `score`; null is a row without one."""
    return calibrated_share(StoredScores(path, limit), share)


def calibrated_share(parts: Iterable[Floats], share: float) -> Calibration:
    """`parts` can be iterated again and again, and yield the same scores each time."""
    return calibrated(parts, threshold_for_share(parts, share)[0])


def calibrated(parts: Iterable[Floats], threshold: float) -> Calibration:
    """Counts what a threshold does."""
    rows = strong_rows = 0
    for part in parts:
        rows += int(np.count_nonzero(~np.isnan(part)))
        strong_rows += int(np.count_nonzero(part >= threshold))
    return Calibration(threshold, strong_rows / rows if rows else None, strong_rows, rows)


class StoredScores:
    """The column `score` of a Parquet file, as often as it is asked for, a batch at a time."""

    def __init__(self, path: Path, limit: int | None = None) -> None:
        """InputFault where the file has no such column of numbers."""
        self._path = path
        self._limit = limit
        with self._open() as file:
            names = file.schema_arrow.names
            if "score" not in names:
                raise InputFault(f"{path}: has no column `score`; name its text column with --prompt to score it")
            if not pa.types.is_floating(file.schema_arrow.field("score").type):
                raise InputFault(f"{path}: the column `score` is no floating-point number; write scores in [0, 1]")

    def __iter__(self) -> Iterator[Floats]:
        left = self._limit
        with self._open() as file:
            for batch in file.iter_batches(columns=["score"]):
                column = batch.column(0) if left is None else batch.column(0).slice(0, left)
                left = None if left is None else left - len(column)
                yield self._checked(pc.fill_null(column.cast(pa.float64()), float("nan")).to_numpy())
                if left == 0:
                    return

    def _checked(self, scores: Floats) -> Floats:
        if ((scores < 0) | (scores > 1)).any():
            raise InputFault(f"{self._path}: a score is not in [0, 1]")
        return scores

    def _open(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self._path, pre_buffer=False, buffer_size=1 << 20)
        except (OSError, pa.ArrowInvalid) as error:
            raise InputFault(
                f"{self._path}: cannot be read as Parquet ({error}); name a Parquet file with a column `score`, "
                "or the text column with --prompt"
            ) from error
