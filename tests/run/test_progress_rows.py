"""How many rows a lane has to settle, said when all scores are known: while the lanes are well under way."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from batchroute.run.engine import run_job
from batchroute.run.options import RunOptions
from batchroute.simulate.behaviour import Behaviour
from inputs import lines
from jobs import job_of, on_both
from servers import threaded_simulator

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchroute.run.progress import Progress
    from batchroute.types import Floats

FILES, ROWS_OF_EACH = 3, 1100  # so that scores of the first file are a part before the second is scored


class SlowRouter:
    """Leaves the lanes time to settle the first rows while it scores the last ones."""

    def score(self, prompts: Sequence[str]) -> Floats:
        time.sleep(1)
        return np.linspace(0.0, 1.0, len(prompts))


def test_rows_that_were_settled_while_the_rest_was_scored_are_among_them(tmp_path: Path) -> None:
    for file in range(FILES):
        lines(tmp_path / f"{file}.jsonl", *({"prompt": f"question {row}"} for row in range(ROWS_OF_EACH)))
    seen: list[Progress] = []

    async def watch(progress: Progress) -> None:
        seen.append(progress)

    with threaded_simulator(Behaviour()) as server:
        router = {"router.use": "test_progress_rows:SlowRouter", "router.batch_size": ROWS_OF_EACH}
        changes = {**router, **on_both("base_url", server.url)}
        job = job_of(tmp_path / "*.jsonl", tmp_path / "run", changes)
        assert run_job(job, RunOptions(environ={}, watch=watch)).complete
    (progress,) = seen
    assert {side: lane.rows for side, lane in progress.lanes.items()} == {
        side: lane.settled for side, lane in progress.lanes.items()
    }
    assert progress.settled == FILES * ROWS_OF_EACH
