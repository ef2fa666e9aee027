"""A pilot killed at any moment: nothing that was paid is asked again or lost. Counted at the providers."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from batchroute.report.quality import Quality, read_quality
from batchroute.store.journal import read_records
from batchroute.store.layout import RunLayout
from batchroute.store.pilot import PilotRecord, PilotStore
from pilots import CONCURRENCY, PilotJob, pilot_job, skilled
from steps import hit_at_every_step
from sums import write_sums

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


LANES = 3  # with the judge's
ROWS = 50
SAMPLED = 20
SMALL_ROWS = 16
JUDGES = ("reference", "rubric", "pairwise")


@contextmanager
def judged_job(
    folder: Path, judge: str, *changes: dict[str, Any], rows: int = ROWS, **slow: float
) -> Iterator[PilotJob]:
    """Written, with a pilot of 20 rows; answers take a moment where a kill is to find some in flight."""
    providers = {name: skilled(name, **slow) for name in ("strong", "weak", "judge")}
    with pilot_job(folder, rows, **providers) as job:
        by_model = {} if judge == "reference" else job.judged_by(judge)
        job.write({"pilot.rows": SAMPLED}, by_model, *changes)
        yield job


@dataclass(frozen=True)
class Undisturbed:
    """What a job finds and costs where nothing happens to it, and how many requests that takes."""

    quality: Quality
    total_usd: float
    requests: int

    @staticmethod
    def of(job: PilotJob, **options: Any) -> Undisturbed:
        before = job.requests
        job.done(**options)
        quality = read_quality(job.run)
        assert quality is not None
        return Undisturbed(quality, job.report()["total_usd"], job.requests - before)


def forget(job: PilotJob) -> None:
    """Neither the directory nor the providers know anything any more."""
    shutil.rmtree(job.run)
    for provider in job.providers.values():
        provider.control(reset=True)


@pytest.mark.parametrize("judge", JUDGES)
def test_after_any_record_the_pilot_asks_only_what_is_not_on_file(tmp_path: Path, judge: str) -> None:
    """What a kill leaves is the journal up to some record, be it torn; what is made of it is not there yet."""
    chance = random.Random(judge)  # noqa: S311 - a schedule, not a secret
    with judged_job(tmp_path, judge) as job:
        undisturbed = Undisturbed.of(job, pilot_only=True)
        layout = RunLayout(job.run)
        for kept in (0, SAMPLED // 2, undisturbed.requests - 1):
            cut_to(layout, kept, chance.randbytes(chance.randint(0, 40)))
            for path in (layout.pilot_quality, layout.pilot_rows, layout.labels):
                path.unlink()
            again = Undisturbed.of(job, pilot_only=True)
            assert again.requests == undisturbed.requests - kept
            assert again.quality == undisturbed.quality
            assert again.total_usd == pytest.approx(undisturbed.total_usd)


def cut_to(layout: RunLayout, records: int, torn: bytes) -> None:
    """Leaves so many records in the pilot's journal, and the beginning of one more."""
    kept = list(read_records(layout.pilot_answers, PilotRecord))[:records]
    layout.pilot_answers.unlink()
    store = PilotStore(layout, mode=0o700)
    for record in kept:
        store.put(record)
    store.close()
    with layout.pilot_answers.open("ab") as file:
        file.write(torn)


def test_an_answer_that_was_about_to_become_a_result_becomes_one(tmp_path: Path) -> None:
    """Killed between the mark and the result; some of the answers are failures that were billed."""
    with judged_job(tmp_path, "reference") as job:
        for provider in job.providers.values():
            provider.control({"poison": {"no_choices": 0.3}})
        undisturbed = Undisturbed.of(job)
        layout = RunLayout(job.run)
        marks = [record for record in read_records(layout.pilot_answers, PilotRecord) if record.kind == "taken"]
        assert len(marks) == SAMPLED
        forget(job)
        job.done(pilot_only=True)
        store = PilotStore(layout, mode=0o700)
        assert any(store.get("pilot", *mark.key[1:]).status == "failed" for mark in marks)  # type: ignore[union-attr]
        for mark in marks:
            store.put(mark)
        store.close()
        again = Undisturbed.of(job)
        assert again.quality == undisturbed.quality
        assert job.places() == Counter(range(ROWS))
        assert again.total_usd == pytest.approx(job.billed_usd())
        job.done()  # asks those that failed once more
        assert job.report()["total_usd"] == pytest.approx(job.billed_usd())


@dataclass(frozen=True)
class Elsewhere:
    """A provider in another process."""

    url: str


def a_small_job(directory: Path) -> Iterator[None]:
    """A whole run; the user that it names tells what it asks from what others do."""
    urls = json.loads(os.environ["PILOT_URLS"])
    providers: Any = {name: Elsewhere(url) for name, url in urls.items()}
    job = PilotJob(directory, providers, SMALL_ROWS)
    write_sums(directory / "prompts.jsonl", SMALL_ROWS)
    told = {"user": directory.name}
    sides = {f"endpoints.{side}.params": told for side in ("strong", "weak")}
    job.write({"pilot.rows": 6}, sides, job.judged_by("rubric", params=told))
    yield
    job.done()


@pytest.mark.parametrize(
    ("mishap", "every"),
    [
        ("kill", 24),
        pytest.param("kill", 1, marks=[pytest.mark.proof, pytest.mark.timeout(900)]),
        pytest.param("full", 1, marks=[pytest.mark.proof, pytest.mark.timeout(900)]),
    ],
)
def test_whatever_step_it_dies_at_the_next_run_finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mishap: Any, every: int
) -> None:
    """Scoring, asking, judging, deciding, before and after each file is there, while rows are taken and asked."""
    (tmp_path / "provider").mkdir()
    (tmp_path / "steps").mkdir()
    with pilot_job(tmp_path / "provider", SMALL_ROWS) as job:
        urls = {name: provider.url for name, provider in job.providers.items()}
        monkeypatch.setenv("PILOT_URLS", json.dumps(urls))
        hits = hit_at_every_step("test_pilot_kills:a_small_job", mishap, tmp_path / "steps", every)
        assert len(hits) > 60 // every
        unhit = PilotJob(hits[-1].directory, job.providers, SMALL_ROWS)
        for hit in hits:
            assert hit.end in {"killed", "Stopped", "RunFault", "done"}, hit
            again = PilotJob(hit.directory, job.providers, SMALL_ROWS)
            assert again.done().complete, hit
            assert again.places() == Counter(range(SMALL_ROWS)), hit
            assert read_quality(again.run) == read_quality(unhit.run), hit
            assert again.report()["total_usd"] == pytest.approx(unhit.report()["total_usd"]), hit
            more = asked_in(job, hit.directory) - asked_in(job, unhit.folder)
            assert 0 <= more <= LANES * CONCURRENCY, hit


def asked_in(job: PilotJob, directory: Path) -> int:
    """How many requests were sent for the job of a directory."""
    asked = [job.asked_by(name) for name in job.providers]
    return sum(count for by_body in asked for body, count in by_body.items() if f'"{directory.name}"' in body)


@pytest.mark.proof
@pytest.mark.timeout(900)
@pytest.mark.parametrize("judge", JUDGES)
def test_killed_at_random_moments_every_row_is_there_once(tmp_path: Path, judge: str) -> None:
    auto, chance = {"pilot.rows": "auto", "pilot.max_rows": 300}, random.Random(judge)  # noqa: S311 - a schedule
    with judged_job(tmp_path, judge, auto, rows=500, latency_s=0.01, jitter_s=0.02) as job:
        undisturbed, kills = Undisturbed.of(job), 12
        forget(job)
        killed = 0
        for _ in range(kills):
            at_start = chance.random() < 0.3
            requests = 0 if at_start else chance.randint(1, undisturbed.requests // kills)
            killed += job.killed_after(requests, chance.uniform(0, 2.5 if at_start else 0.05))
        assert killed >= kills // 2, "the runs end before they can be killed"
        assert Undisturbed.of(job).quality == undisturbed.quality
        assert job.places() == Counter(range(500))
        assert job.requests - undisturbed.requests <= killed * LANES * CONCURRENCY
        assert job.report()["total_usd"] == pytest.approx(undisturbed.total_usd)
