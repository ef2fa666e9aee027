"""Pilots that are stopped from outside: they say why, and go on asking only what is not answered."""

from __future__ import annotations

import signal
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from answers import files_of_at_most
from batchroute.errors import Stopped
from pilots import CONCURRENCY, pilot_job, skilled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from command import Said
    from pilots import PilotJob

    Command = Callable[..., Said]

ROWS = 40
SAMPLED = 12
SMALL = {"pilot.rows": SAMPLED}


@contextmanager
def small_job(
    folder: Path, *changes: dict[str, Any], judge: str | None = None, **settings: Any
) -> Iterator[PilotJob]:
    """Written; `settings` are those of every provider."""
    providers = {name: skilled(name, **settings) for name in ("strong", "weak", "judge")}
    with pilot_job(folder, ROWS, **providers) as job:
        job.write(SMALL, {} if judge is None else job.judged_by(judge), *changes)
        yield job


def assert_goes_on(job: PilotJob, twice: int = 0) -> None:
    """To the end: each row is there once, the bill is the providers', `twice` requests at most were sent again."""
    assert job.done().complete
    assert job.places() == Counter(range(ROWS))
    assert job.asked_twice() <= twice
    if not twice:
        assert job.report()["total_usd"] == pytest.approx(job.billed_usd())


@pytest.mark.parametrize("name", ["strong", "weak", "judge"])
def test_an_endpoint_that_is_away_stops_it_until_it_is_back(tmp_path: Path, name: str) -> None:
    with small_job(tmp_path, {"limits.outage_s": 0.5}, judge="rubric") as job:
        job.providers[name].refuse()
        end = job.done()
        assert end.exit_code(0.0) == 4
        assert end.stopped[0].startswith(f"{name}: does not answer")
        assert job.report()["total_usd"] == pytest.approx(job.billed_usd())
        job.providers[name].listen()
        assert_goes_on(job)


@pytest.mark.parametrize("name", ["weak", "judge"])
def test_a_key_that_is_rejected_stops_it(tmp_path: Path, name: str) -> None:
    """However few questions are left: nothing is decided without them."""
    with small_job(tmp_path, {"pilot.rows": 1}, judge="pairwise") as job:
        job.providers[name].control({"api_key": "another"})
        end = job.done()
        assert end.exit_code(0.0) == 4
        assert end.stopped[0].startswith(f"{name}: key rejected")
        assert job.report()["quality"] is None
        job.providers[name].control({"api_key": None})
        assert_goes_on(job, twice=1)


@pytest.mark.parametrize("judge", ["reference", "pairwise"])
def test_interrupted_it_keeps_what_was_in_flight(tmp_path: Path, judge: str) -> None:
    """While the sides are asked, and while the judge is."""
    with small_job(tmp_path, judge=None if judge == "reference" else judge, latency_s=0.15) as job:
        asked = "strong" if judge == "reference" else "judge"
        with job.started("pilot", "job.toml", "--quiet") as run:
            while job.providers[asked].stats().requests < CONCURRENCY and run.poll() is None:
                time.sleep(0.002)
            run.send_signal(signal.SIGINT)
            _, said = run.communicate(timeout=60)
        assert run.returncode == 130, said
        assert "Traceback" not in said
        report = job.report()
        assert report["state"] == "incomplete"
        assert report["pilot_cost_usd"] == report["total_usd"] == pytest.approx(job.billed_usd())
        assert_goes_on(job)


def test_what_cannot_be_shown_may_stop_it_before_any_row_is_paid(tmp_path: Path) -> None:
    with small_job(tmp_path, {"routing": {"quality": 0.99}, "limits.on_unproven": "stop"}) as job:
        for _ in range(2):
            end = job.done()
            assert end.exit_code(0.0) == 4
            assert "could not show routing.quality = 0.99;" in end.stopped[0]
            assert 'set limits.on_unproven = "strong"' in end.stopped[0]
            assert job.requests == 2 * SAMPLED
        job.write(SMALL, {"routing": {"quality": 0.99}})
        assert_goes_on(job)
        assert job.report()["strong_rows"] == ROWS


def test_a_full_disk_stops_it_and_nothing_is_dropped(tmp_path: Path) -> None:
    with small_job(tmp_path, judge="rubric") as job:
        with files_of_at_most(12_000), pytest.raises(Stopped):
            job.done()
        assert 0 < job.requests < 4 * SAMPLED
        assert_goes_on(job, twice=2 * CONCURRENCY)


def test_a_poisoned_row_holds_up_nothing(tmp_path: Path) -> None:
    """Also where it is the last that its lane has, and the other waits for what the pilot finds."""
    changes = {"endpoints.strong.max_attempts": 2, "endpoints.weak.max_attempts": 2, "pilot.rows": ROWS}
    with small_job(tmp_path, changes) as job:
        job.providers["weak"].control({"poison": {"503": 0.1}})
        end = job.done()
        assert end.exit_code(0.0) == 3
        assert end.failed
        assert job.places() == Counter(range(ROWS))
        job.providers["weak"].control({"poison": {}})
        asked = job.requests
        assert job.done().complete
        assert job.requests - asked == end.failed


@pytest.mark.parametrize(
    ("poison", "code", "left_out"), [({}, 0, {}), ({"content_filter": 1.0}, 3, {"no_answer": SAMPLED})]
)
def test_by_itself_it_exits_as_a_run_does(
    tmp_path: Path, batchroute: Command, poison: dict[str, float], code: int, left_out: dict[str, int]
) -> None:
    with small_job(tmp_path) as job:
        for side in ("strong", "weak"):
            job.providers[side].control({"poison": poison})
        for _ in range(2):
            assert batchroute("pilot", job.folder / "job.toml", "--quiet").code == code
            assert job.requests == 2 * SAMPLED
        report = job.report()
        assert report["state"] == "incomplete"
        assert {reason: rows for reason, rows in report["quality"]["left_out"].items() if rows} == left_out
        assert (report["cost_usd"], report["total_usd"]) == (0.0, pytest.approx(job.billed_usd()))
