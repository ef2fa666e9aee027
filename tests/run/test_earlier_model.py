"""A run that the built-in model of an earlier version began goes on with that model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from batchroute.errors import RunFault
from batchroute.run.open import open_input
from batchroute.run.scoring import scorer_loader
from batchroute.score.router import BUILTIN_MODELS, load_scorer
from batchroute.store.directory import RunDirectory, open_run_directory
from batchroute.store.lock import locked
from earlier_model import EARLIER
from inputs import lines
from jobs import job_of

if TYPE_CHECKING:
    from batchroute.job.spec import Job


@pytest.fixture
def job(tmp_path: Path) -> Job:
    prompts = lines(tmp_path / "prompts.jsonl", *({"prompt": f"question {row}"} for row in range(5)))
    return job_of(prompts, tmp_path / "run", {"router.use": "mf", "router.device": "cpu"})


def opened(job: Job) -> RunDirectory:
    source = open_input(job.input, job.router, Path(job.output.path))
    with locked(Path(job.output.path), 0o700):
        return open_run_directory(job, source)


def begun_by(identity: str, job: Job) -> RunDirectory:
    """A run's directory, opened again, whose first rows stand scored by what is named."""
    begun = opened(job)
    begun.hold_to(identity)
    for chunk in open_input(job.input, job.router, None).chunks():
        begun.scores.add(chunk, chunk.questions(), np.full(len(chunk.rows), 0.5))
    begun.scores.close(last=False)
    return opened(job)


def test_a_run_goes_on_with_the_built_in_model_that_began_it(job: Job) -> None:
    directory = begun_by(EARLIER, job)
    assert scorer_loader(job.router, directory)().identity == directory.identity.scorer == EARLIER


def test_what_no_built_in_model_began_is_not_mixed_with_one(job: Job) -> None:
    directory = begun_by("mf:0123456789abcdef:one>other:hashed-ngrams-2", job)
    with pytest.raises(RunFault, match="was scored by mf:0123456789abcdef"):
        scorer_loader(job.router, directory)()


def test_a_new_run_takes_the_newest(job: Job) -> None:
    directory = opened(job)
    newest = load_scorer(job.router).identity
    assert len(BUILTIN_MODELS) == len({EARLIER, newest})
    assert scorer_loader(job.router, directory)().identity == directory.identity.scorer == newest
