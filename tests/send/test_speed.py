"""Limits kept and used over real time, counted at servers that enforce them: known ones, tokens, an unknown one.

All runs stand side by side, each a process with a provider of its own: the whole takes as long as the longest.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from bisect import bisect_left
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from batchroute.simulate.behaviour import Behaviour
from servers import simulator_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchroute.simulate.traffic import Stats
    from servers import SimulatorProcess

pytestmark = [pytest.mark.proof, pytest.mark.timeout(900)]

KNOWN = [3, 60, 500, 1000, 3500, 30_000]
KNOWN_S = 150
TOKENS_PER_MINUTE = 120_000
UNKNOWN = 1200
UNKNOWN_S = 330
SETTLED_AFTER_S = 150
NETWORK_S = 0.05  # what the system's scheduler may add to one request's way but not to another's
JOB = """
[input]
path = "prompts.jsonl"
[output]
path = "run"
[router]
use = "length"
[routing]
threshold = 0.0
[endpoints.strong]
model = "gpt-6-luna"
base_url = "{url}"
max_concurrency = {concurrency}
params = {{ max_tokens = 300 }}
{limits}
[endpoints.weak]
model = "gpt-6-luna"
simulate = {{}}
[limits]
max_wall_s = {wall_s}
"""


@dataclass(frozen=True)
class Speed:
    """One run: what the server enforces, what the job knows of it, and for how long it sends."""

    name: str
    behaviour: dict[str, Any]
    limits: str
    wall_s: float
    rows: int
    concurrency: int = 64

    @property
    def provider(self) -> Behaviour:
        return Behaviour(latency_s=0.2, jitter_s=0.1, error_rate=0.01, keep_arrivals=200_000, **self.behaviour)

    def start(self, folder: Path, server: SimulatorProcess) -> subprocess.Popen[bytes]:
        folder.mkdir()
        with (folder / "prompts.jsonl").open("w") as file:
            file.writelines(json.dumps({"prompt": f"question {row}"}) + "\n" for row in range(self.rows))
        values = {"url": server.url, "concurrency": self.concurrency, "limits": self.limits, "wall_s": self.wall_s}
        (folder / "job.toml").write_text(JOB.format(**values))
        command = [sys.executable, "-c", "from batchroute.cli import main; main()", "run", "job.toml", "--quiet"]
        return subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)


def known(requests_per_minute: int) -> Speed:
    return Speed(
        f"{requests_per_minute} a minute",
        {"requests_per_minute": requests_per_minute},
        f"requests_per_minute = {requests_per_minute}",
        KNOWN_S,
        rows=requests_per_minute * 4 + 100,
        concurrency=256 if requests_per_minute > 10_000 else 64,
    )


SPEEDS = [
    *map(known, KNOWN),
    Speed(
        "tokens",
        {"tokens_per_minute": TOKENS_PER_MINUTE, "characters_per_token": 3.0},
        f"tokens_per_minute = {TOKENS_PER_MINUTE}",
        KNOWN_S + 60,
        rows=10_000,
    ),
    Speed("unknown", {"requests_per_minute": UNKNOWN}, "", UNKNOWN_S, rows=UNKNOWN * 8),
]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Stats]]:
    """What each server counted."""
    folder = tmp_path_factory.mktemp("speeds")
    with ExitStack() as stack:
        servers = [stack.enter_context(simulator_process(speed.provider)) for speed in SPEEDS]
        pairs = list(zip(SPEEDS, servers, strict=True))
        runs = [speed.start(folder / f"run-{n}", server) for n, (speed, server) in enumerate(pairs)]
        assert [run.wait() for run in runs] == [4] * len(runs), "time ran out before the rows did"
        yield {speed.name: server.stats() for speed, server in pairs}


def say(words: str) -> None:
    sys.stderr.write(words + "\n")  # the figures are worth reading (pytest -rP)


def most_within(arrivals: list[float], window_s: float) -> int:
    return max(bisect_left(arrivals, at + window_s) - number for number, at in enumerate(arrivals))


@pytest.mark.parametrize("requests_per_minute", KNOWN)
def test_a_known_limit_is_kept_and_used(seen: dict[str, Stats], requests_per_minute: int) -> None:
    stats = seen[f"{requests_per_minute} a minute"]
    arrivals = stats.arrivals_s
    per_minute = (len(arrivals) - 1) / (arrivals[-1] - arrivals[0]) * 60
    in_60_s, in_1_s = most_within(arrivals, 60.0), most_within(arrivals, 1.0 - NETWORK_S)
    limited = stats.by_status.get("429", 0)
    say(f"{requests_per_minute}: {per_minute:.1f} a minute, {in_60_s} in 60 s, {in_1_s} in 1 s, {limited} 429s")
    assert len(arrivals) == stats.requests
    assert in_60_s <= requests_per_minute + 1
    assert in_1_s <= math.ceil(1.05 * requests_per_minute / 60) + 1
    assert per_minute >= 0.97 * requests_per_minute
    assert limited <= max(1, 0.001 * stats.requests)


def test_a_limit_on_tokens_is_kept_and_used(seen: dict[str, Stats]) -> None:
    stats = seen["tokens"]
    took_s = stats.arrivals_s[-1] - stats.arrivals_s[0]
    per_minute = (stats.prompt_tokens + stats.completion_tokens) / (took_s + 60) * 60
    say(f"tokens: {per_minute:.0f} a minute over {took_s:.0f} s, {stats.by_status}")
    assert took_s > KNOWN_S
    assert stats.by_status.get("429", 0) <= max(1, 0.001 * stats.requests)
    assert per_minute >= 0.85 * TOKENS_PER_MINUTE


def test_an_unknown_limit_is_found(seen: dict[str, Stats]) -> None:
    """Counted once the first minutes have shown what the server takes."""
    stats = seen["unknown"]
    answered = sum(count for status, count in stats.by_status.items() if status != "429")
    settled = [at for at in stats.arrivals_s if at - stats.arrivals_s[0] >= SETTLED_AFTER_S]
    per_minute = (len(settled) - 1) / (settled[-1] - settled[0]) * 60
    say(f"unknown: {per_minute:.1f} a minute once settled, {stats.by_status}")
    assert per_minute >= 0.85 * UNKNOWN
    assert stats.by_status["429"] <= 0.02 * stats.requests
    assert answered >= 0.85 * UNKNOWN * UNKNOWN_S / 60
