"""Runs that die, and what the next one finds. Counted at the server.

Killed at random moments with torn journals in between, or told to stop and killed soon after.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import tomli_w

from batchroute.simulate.behaviour import Behaviour
from batchroute.simulate.traffic import prompt_digest
from batchroute.store.journal import read_journal
from inputs import lines
from jobs import job_of
from servers import threaded_simulator

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from servers import ThreadedSimulator

CONCURRENCY = 8
COMMAND = [sys.executable, "-c", "from batchroute.cli import main; main()", "run", "job.toml", "--quiet"]
GIVE_UP_S = 60.0
STARTED_S = 2.5  # by then a run has begun to send
# What is never billed, so that whatever is billed twice was paid twice because of a kill.
FAULTS = {"503": 0.02, "529": 0.01, "reset": 0.01, "ok_server_error": 0.01, "429": 0.001}


def prompt(row: int) -> str:
    return f"question {row} " + "x" * (row * 37 % 1000)


@dataclass
class Victim:
    """A job whose runs are killed, and what its directory and its server say of them."""

    folder: Path
    server: ThreadedSimulator
    rows: int
    chance: random.Random
    kills: int = 0
    undone: int = 0  # rows whose records were torn off after they had been written
    asked_when_done: dict[str, int] = field(default_factory=dict)

    def write(self, changes: Mapping[str, Any] | None = None) -> None:
        lines(self.folder / "prompts.jsonl", *({"prompt": prompt(row)} for row in range(self.rows)))
        lane = {"base_url": self.server.url, "max_concurrency": CONCURRENCY, "max_attempts": 8}
        ours = {f"endpoints.{side}.{k}": value for side in ("strong", "weak") for k, value in lane.items()}
        job = job_of(self.folder / "prompts.jsonl", self.folder / "run", {**ours, **(changes or {})})
        text = tomli_w.dumps(job.model_dump(mode="json", exclude_none=True))
        (self.folder / "job.toml").write_text(text)

    def started(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            COMMAND, cwd=self.folder, start_new_session=True, stderr=subprocess.PIPE, text=True
        )

    def killed_after(self, requests: int, seconds: float) -> None:
        """Starts a run and kills its process group after so many requests, and so much time on top."""
        target = self.server.stats().requests + requests
        with self.started() as run:
            deadline = time.monotonic() + GIVE_UP_S
            while self.server.stats().requests < target and run.poll() is None and time.monotonic() < deadline:
                time.sleep(0.002)
            time.sleep(seconds)
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
                self.kills += 1
            _, said = run.communicate(timeout=20)
        assert run.returncode in {0, -signal.SIGKILL}, said

    def tear(self) -> None:
        """Cuts into the last record of the last journal, or leaves something behind it, as a power cut might."""
        journals = sorted((self.folder / "run").glob("journal-*"))
        if not journals:
            return
        size = journals[-1].stat().st_size
        mishap = self.chance.choice(["cut", "zeros", "garbage", "none"])
        if mishap == "cut" and size:
            os.truncate(journals[-1], size - self.chance.randint(1, min(size, 60)))
            self.undone += 1
        elif mishap in {"zeros", "garbage"}:
            count = self.chance.randint(1, 5000)
            with journals[-1].open("ab") as file:
                file.write(bytes(count) if mishap == "zeros" else self.chance.randbytes(count))

    def note_done(self) -> None:
        """Remembers how often each row that is done was asked: it is never to be asked again."""
        asked = self.server.stats().asked
        for row in self.rows_on_disk():
            digest = prompt_digest(prompt(row))
            self.asked_when_done.setdefault(digest, asked[digest])

    def rows_on_disk(self) -> list[int]:
        run = self.folder / "run"
        parts = sorted((run / "results").glob("part-*.parquet"))
        journals = [read_journal(path) for path in run.glob("journal-*")]
        return [
            *(row for part in parts for row in pq.read_table(part, columns=["row"])["row"].to_pylist()),
            *(result.row for journal in journals for result in journal if result.status in {"ok", "refused"}),
        ]

    def assert_nothing_lost(self) -> None:
        with self.started() as run:
            _, said = run.communicate(timeout=300)
        assert run.returncode == 0, said
        table = ds.dataset(self.folder / "run" / "results").to_table(columns=["row", "status", "response"])
        assert Counter(table["row"].to_pylist()) == Counter(range(self.rows))
        assert table["response"].null_count == 0
        assert (self.folder / "run" / "failed.jsonl").read_bytes() == b""
        stats = self.server.stats()
        again = {digest: stats.asked[digest] - count for digest, count in self.asked_when_done.items()}
        assert not {digest: count for digest, count in again.items() if count}, "a done row was asked again"
        assert len(stats.billed) == self.rows
        paid_twice = sum(count - 1 for count in stats.billed.values())
        assert paid_twice <= self.kills * 2 * CONCURRENCY + self.undone


def kill_and_resume(folder: Path, rows: int, kills: int) -> Victim:
    chance = random.Random(kills)  # noqa: S311 - a schedule, not a secret
    behaviour = Behaviour(count_prompts=True, latency_s=0.01, jitter_s=0.02, error_rate=0.02, faults=FAULTS)
    with threaded_simulator(behaviour) as server:
        victim = Victim(folder, server, rows, chance)
        victim.write()
        tries = 0
        while victim.kills < kills:
            tries += 1
            if chance.random() < 0.25:  # at any moment of the start
                victim.killed_after(0, chance.uniform(0, STARTED_S))
            else:
                victim.killed_after(chance.randint(1, rows // kills), chance.uniform(0, 0.1))
            victim.tear()
            victim.note_done()
            assert tries < 2 * kills, "the runs end before they can be killed"
        assert len(victim.rows_on_disk()) < rows, "the last kill, too, came in the middle"
        victim.assert_nothing_lost()
    return victim


def test_killed_in_the_middle_a_run_goes_on_and_pays_at_most_what_was_in_flight_twice(tmp_path: Path) -> None:
    assert kill_and_resume(tmp_path, 600, 2).asked_when_done


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_killed_twenty_four_times_every_row_is_there_once(tmp_path: Path) -> None:
    victim = kill_and_resume(tmp_path, 5000, 24)
    assert victim.undone >= 3
    assert len(victim.asked_when_done) >= 1000


def test_told_to_stop_and_killed_while_it_waits_a_run_loses_only_what_was_in_flight(tmp_path: Path) -> None:
    """As schedulers do: SIGTERM, a grace of a few seconds, SIGKILL."""
    with threaded_simulator(Behaviour(count_prompts=True, latency_s=0.02)) as server:
        victim = Victim(tmp_path, server, 400, random.Random(1))  # noqa: S311 - a schedule, not a secret
        victim.write({"limits.drain_s": 120.0})
        with victim.started() as run:
            while server.stats().requests < 100:
                time.sleep(0.002)
            server.control({"latency_s": 300.0})
            while server.stats().in_flight < 2 * CONCURRENCY or not hanging(server):
                time.sleep(0.002)
            run.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                run.wait(5)
            os.killpg(run.pid, signal.SIGKILL)
            victim.kills += 1
            _, said = run.communicate(timeout=20)
        assert "waiting up to 120 s for 16 answers in flight" in said
        victim.note_done()
        assert len(victim.asked_when_done) >= 100 - 2 * CONCURRENCY
        server.control({"latency_s": 0.0})
        victim.assert_nothing_lost()


def hanging(server: ThreadedSimulator) -> bool:
    """Whether what is in flight stays there."""
    before = server.stats().requests
    time.sleep(0.2)
    return server.stats().requests == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("signals", [1, 2])
def test_a_signal_drains_and_a_second_one_does_not_wait(
    tmp_path: Path, number: signal.Signals, code: int, signals: int
) -> None:
    with threaded_simulator(Behaviour(count_prompts=True, latency_s=1.0 if signals == 1 else 300.0)) as server:
        victim = Victim(tmp_path, server, 100, random.Random(1))  # noqa: S311 - a schedule, not a secret
        victim.write({"limits.drain_s": 100.0})
        with victim.started() as run:
            while server.stats().in_flight < 2 * CONCURRENCY:
                time.sleep(0.002)
            for _ in range(signals):
                run.send_signal(number)
                time.sleep(0.1)
            _, said = run.communicate(timeout=60)
        assert run.returncode == code, said
        assert "Traceback" not in said
        asked = server.stats().requests
        assert len(victim.rows_on_disk()) == (asked if signals == 1 else 0)
        server.control({"latency_s": 0.0})
        victim.kills += signals - 1
        victim.assert_nothing_lost()


def test_the_report_is_made_however_often_a_run_is_interrupted(tmp_path: Path) -> None:
    """polars, which counts for it, takes a Ctrl-C that comes while it works for its own."""
    with threaded_simulator(Behaviour(count_prompts=True, latency_s=0.5)) as server:
        victim = Victim(tmp_path, server, 100, random.Random(1))  # noqa: S311 - a schedule, not a secret
        victim.write()
        with victim.started() as run:
            while server.stats().in_flight < 2 * CONCURRENCY:
                time.sleep(0.002)
            while run.poll() is None:
                run.send_signal(signal.SIGINT)
                time.sleep(0.2)
            _, said = run.communicate(timeout=60)
        assert run.returncode in {130, -signal.SIGINT}, said  # a shell makes 130 of both
        report = json.loads((tmp_path / "run" / "report.json").read_text())
        assert report["state"] == "incomplete"
        assert "SIGINT" in report["stopped"][0]
