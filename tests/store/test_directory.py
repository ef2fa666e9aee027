from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from answers import result
from batchroute.errors import RunFault
from batchroute.run.open import open_input
from batchroute.store.directory import RunDirectory, open_run_directory
from batchroute.store.lock import locked
from inputs import lines
from jobs import job_of
from steps import hit_at_every_step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROWS = 5


def open_for(
    directory: Path, changes: dict[str, Any] | None = None, *, retry_refused: bool = False
) -> RunDirectory:
    job = job_of(directory / "prompts.jsonl", directory / "run", changes)
    source = open_input(job.input, job.router, directory / "run")
    with locked(directory / "run", 0o700):
        return open_run_directory(job, source, retry_refused=retry_refused)


def write_input(directory: Path) -> None:
    lines(directory / "prompts.jsonl", *({"prompt": f"question {row}"} for row in range(ROWS)))


def score(of: RunDirectory, directory: Path) -> None:
    job = job_of(directory / "prompts.jsonl", directory / "run")
    for chunk in open_input(job.input, job.router, None).chunks():
        of.scores.add(chunk, chunk.questions(), np.full(len(chunk.rows), 0.5))
    of.scores.close(last=True)


def started(directory: Path) -> Iterator[None]:
    write_input(directory)
    yield
    open_for(directory)


def begun_anew(directory: Path) -> Iterator[None]:
    """A run that had refused rows only, and scores, goes on with another input column."""
    write_input(directory)
    before = open_for(directory)
    before.store.record(result(0, "refused"))
    before.store.record(result(1, "failed"))
    before.store.finish()
    score(before, directory)
    yield
    open_for(directory, {"input.system": "You are terse."})


@pytest.mark.parametrize("mishap", ["kill", "full"])
@pytest.mark.parametrize("scenario", ["started", "begun_anew"])
def test_whatever_step_the_start_dies_at_the_same_command_goes_on(
    tmp_path: Path, scenario: str, mishap: Any
) -> None:
    hits = hit_at_every_step(f"test_directory:{scenario}", mishap, tmp_path)
    assert len(hits) > 8
    for hit in hits:
        assert hit.end in {"killed", "Stopped", "done"}, hit
        changes = {"input.system": "You are terse."} if scenario == "begun_anew" else None
        again = open_for(hit.directory, changes)
        assert (again.store.tally.done, again.store.unsettled, again.scores.parts) == (0, {}, []), hit
        assert open_for(hit.directory, changes).identity == again.identity


def test_a_run_goes_on_with_its_rows_scores_and_threshold(tmp_path: Path) -> None:
    write_input(tmp_path)
    first = open_for(tmp_path)
    first.hold_to("length")
    first.store.record(result(0))
    score(first, tmp_path)
    first.fix_threshold(0.25, ROWS, None)
    again = open_for(tmp_path, {"limits.outage_s": 5.0})
    assert (again.store.tally.done, again.scores.rows) == (1, ROWS)
    assert (again.identity.threshold, again.identity.rows, again.identity.scorer) == (0.25, ROWS, "length")


def test_scores_of_another_model_under_the_same_name_are_not_mixed(tmp_path: Path) -> None:
    write_input(tmp_path)
    first = open_for(tmp_path)
    first.hold_to("mf:1234")
    first.hold_to("mf:5678")  # nothing is scored yet
    score(first, tmp_path)
    again = open_for(tmp_path)
    again.hold_to("mf:5678")
    with pytest.raises(RunFault, match=r"was scored by mf:5678, router\.model now is mf:9"):
        again.hold_to("mf:9")


def test_an_input_changed_before_any_answer_starts_over_and_after_one_is_refused(tmp_path: Path) -> None:
    write_input(tmp_path)
    first = open_for(tmp_path)
    first.store.record(result(0, "refused"))
    score(first, tmp_path)
    lines(tmp_path / "prompts.jsonl", {"prompt": "another question"})
    again = open_for(tmp_path)
    assert (again.store.tally.done, again.scores.parts) == (0, [])
    again.store.record(result(0))
    write_input(tmp_path)
    with pytest.raises(RunFault, match=r"input\.path changed"):
        open_for(tmp_path)


def test_changed_params_before_the_lanes_first_answer_keep_its_rows(tmp_path: Path) -> None:
    write_input(tmp_path)
    first = open_for(tmp_path)
    first.store.record(result(0, side="weak"))
    first.store.record(result(1, "failed", side="strong", attempts=2))
    again = open_for(tmp_path, {"endpoints.strong.params": {"max_tokens": 5}})
    assert again.store.tally.done == 1
    assert [entry.attempts for entry in again.store.unsettled.values()] == [2]
    with pytest.raises(RunFault, match=r"endpoints\.weak\.params changed"):
        open_for(tmp_path, {"endpoints.weak.params": {"max_tokens": 5}})


def test_refused_rows_come_up_again_when_asked_for(tmp_path: Path) -> None:
    write_input(tmp_path)
    first = open_for(tmp_path)
    first.store.record(result(0))
    first.store.record(result(1, "refused", attempts=3))
    again = open_for(tmp_path, retry_refused=True)
    assert again.store.tally.done == 1
    assert [(row, entry.attempts) for (_, row), entry in again.store.unsettled.items()] == [(1, 3)]
