"""How many processes of a cluster score with a GPU of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchroute.run.workers.on_ray import gpu_scorers
from jobs import job_of


@pytest.mark.parametrize(
    ("router", "each", "gpus", "scorers"),
    [
        ("mf", 1.0, 0.0, 0),
        ("mf", 1.0, 3.0, 3),
        ("mf", 0.5, 3.0, 6),
        ("mf", 2.0, 3.0, 1),
        ("mf", 0.0, 3.0, 0),
        ("length", 1.0, 3.0, 0),
        ("random", 1.0, 3.0, 0),
        ("own:Router", 1.0, 3.0, 3),
    ],
)
def test_a_scorer_for_each_gpu_where_the_router_has_a_use_for_it(
    router: str, each: float, gpus: float, scorers: int
) -> None:
    job = job_of(Path("in.jsonl"), Path("run"), {"router.use": router, "engine.gpus": each})
    assert gpu_scorers(job, gpus) == scorers
