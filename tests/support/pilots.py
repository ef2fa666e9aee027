"""Jobs with a pilot against real providers, and what these providers have seen of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow.dataset as ds

from batchroute.job.load import load_job
from batchroute.run.engine import run_job
from batchroute.run.options import RunOptions
from batchroute.simulate.behaviour import Behaviour
from jobs import judged, write_job
from servers import threaded_simulator
from sums import write_sums

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from batchroute.job.spec import Job
    from batchroute.run.end import RunEnd
    from servers import ThreadedSimulator

SKILLS = {"strong": 0.95, "weak": 0.5, "judge": 1.0}
PRICES = {
    "strong": {"input": 2.0, "output": 10.0},
    "weak": {"input": 0.2, "output": 1.0},
    "judge": {"input": 1.0, "output": 4.0},
}
CONCURRENCY = 4
GIVE_UP_S = 60.0
COMMAND = [sys.executable, "-c", "from batchroute.cli import main; main()"]


@dataclass(frozen=True)
class PilotJob:
    """A job file in a folder, and the providers of its sides and of its judge."""

    folder: Path
    providers: Mapping[str, ThreadedSimulator]
    rows: int

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def write(self, *changes: Mapping[str, Any]) -> Path:
        """The job, asked of the providers, judged by the right answers unless the changes say otherwise."""
        ours: dict[str, Any] = {
            "routing": {"quality": 0.7},
            "pilot": {"rows": 40, "judge": "reference", "reference": "answer"},
        }
        for side in ("strong", "weak"):
            provider = {"base_url": self.providers[side].url, "max_concurrency": CONCURRENCY}
            ours |= {f"endpoints.{side}.{key}": value for key, value in provider.items()}
            ours |= {f"endpoints.{side}.price": PRICES[side]}
        return write_job(self.folder, ours, *changes)

    def judged_by(self, judge: str, **endpoint: Any) -> dict[str, Any]:
        """The change that has a model judge."""
        settings = {"base_url": self.providers["judge"].url, "price": PRICES["judge"]}
        change = judged(judge, **{"max_concurrency": CONCURRENCY, **settings, **endpoint})
        del change["routing.threshold"], change["routing.quality"]
        return {**change, "pilot.reference": None}

    def load(self) -> Job:
        return load_job(self.folder / "job.toml", environ={})

    def done(self, **options: Any) -> RunEnd:
        """Runs it in this process."""
        return run_job(self.load(), RunOptions(environ={}, **options))

    def report(self) -> dict[str, Any]:
        values: dict[str, Any] = json.loads((self.run / "report.json").read_text())
        return values

    def started(self, *command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, *(command or ("run", "job.toml", "--quiet"))],
            cwd=self.folder,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def killed_after(self, requests: int, seconds: float) -> bool:
        """Starts a run and kills it after so many requests more and so much time; False where it ended before."""
        target = self.requests + requests
        with self.started() as run:
            deadline = time.monotonic() + GIVE_UP_S
            while self.requests < target and run.poll() is None and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(seconds)
            is_killed = run.poll() is None
            if is_killed:
                os.killpg(run.pid, signal.SIGKILL)
            _, said = run.communicate(timeout=20)
        assert run.returncode in {0, -signal.SIGKILL}, said
        return is_killed

    @property
    def requests(self) -> int:
        return sum(provider.stats().requests for provider in self.providers.values())

    def asked_by(self, name: str) -> Counter[str]:
        """How often each request was sent there, by its body."""
        return Counter(request.body for request in self.providers[name].stats().recorded)

    def asked_twice(self) -> int:
        """How many requests were sent to a side that it had been sent before."""
        return sum(count - 1 for side in ("strong", "weak") for count in self.asked_by(side).values())

    def billed_usd(self) -> float:
        """What the providers charge, whether or not their answers arrived."""
        return float(sum(self.billed_by(name) for name in self.providers))

    def billed_by(self, name: str) -> Decimal:
        price = {kind: Decimal(str(usd)) for kind, usd in PRICES[name].items()}
        lines = self.providers[name].stats().bill
        tokens = sum(
            line.prompt_tokens() * price["input"] + line.output_tokens * price["output"] for line in lines
        )
        return Decimal(tokens) / 1_000_000

    def places(self) -> Counter[int]:
        """The rows in results and failed.jsonl."""
        table = ds.dataset(self.run / "results").to_table(columns=["row"])
        failed = (
            (self.run / "failed.jsonl").read_text().splitlines() if (self.run / "failed.jsonl").exists() else []
        )
        return Counter([*table["row"].to_pylist(), *(json.loads(line)["row"] for line in failed)])


@contextmanager
def pilot_job(folder: Path, rows: int = 120, **behaviours: Behaviour) -> Iterator[PilotJob]:
    """A job of sums, not written yet; each provider is skilled, and keeps what it was asked."""
    write_sums(folder / "prompts.jsonl", rows)
    with ExitStack() as stack:
        providers = {
            name: stack.enter_context(
                threaded_simulator(behaviours.get(name) or Behaviour(skill=skill, keep_requests=100_000))
            )
            for name, skill in SKILLS.items()
        }
        yield PilotJob(folder, providers, rows)


def skilled(name: str, **settings: Any) -> Behaviour:
    """The provider of that name, with other settings."""
    return Behaviour(**{"skill": SKILLS[name], "keep_requests": 100_000, **settings})
