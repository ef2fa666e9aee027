"""The hard limit on money, counted at the provider."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.send.allowance import EndpointLimits, OwnLimits, Spending
from batchroute.send.budget import Account, Budget
from batchroute.send.classify import Answer, stop_reason
from batchroute.send.lane import Lane
from batchroute.send.request import Outcome, Request, Spent
from batchroute.send.retry import RetryPolicy
from batchroute.simulate.behaviour import Behaviour
from batchroute.store.ledger import Ledger
from batchroute.types import Completion, Prompt, Usage
from jobs import on_both, write_job
from servers import threaded_simulator
from virtual_time import run_virtually

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from batchroute.simulate.traffic import Stats
    from command import Said
    from servers import ThreadedSimulator

    Command = Callable[..., Said]

JOB = {
    "routing.threshold": 0.1,
    **on_both("max_concurrency", 100),
    **on_both("params", {"max_tokens": 200}),
    **on_both("price", {"input": 100, "output": 400}),
    "limits.max_cost_usd": 2,
}
PER_TOKEN = (Decimal(100) / 1_000_000, Decimal(400) / 1_000_000)


def billed_usd(stats: Stats) -> Decimal:
    """What the provider would charge, for answers that never arrived, too."""
    return stats.prompt_tokens * PER_TOKEN[0] + stats.completion_tokens * PER_TOKEN[1]


def assert_next_rows_did_not_fit(said: str) -> None:
    """Each lane says what its next row might have cost, and what was left then, with nothing in flight."""
    lefts = re.findall(r"the next row may cost \$([0-9.]+), \$([0-9.]+) are left", said)
    assert len(lefts) == 2
    assert all(Decimal(cost) > Decimal(left) >= 0 for cost, left in lefts)
    assert min(Decimal(left) for _, left in lefts) < Decimal("0.2"), "a row costs that much at most"


@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(latency_s=0.02, response_tokens=400),
        Behaviour(latency_s=0.01, jitter_s=0.02, characters_per_token=1.0, response_tokens=400),
        Behaviour(latency_s=0.01, error_rate=0.1, faults={"no_usage": 0.1, "cut": 0.1, "reset": 0.05}),
    ],
    ids=["answers up to the limit", "inputs longer than estimated", "attempts without usage"],
)
def test_the_limit_is_never_passed_and_a_higher_one_goes_on(
    tmp_path: Path, batchroute: Command, behaviour: Behaviour
) -> None:
    rows = "".join(json.dumps({"prompt": f"{n}: " + "tell me more " * (n % 40)}) + "\n" for n in range(300))
    (tmp_path / "prompts.jsonl").write_text(rows)
    with threaded_simulator(behaviour) as provider:
        job = write_job(tmp_path, JOB, on_both("base_url", provider.url))
        first = batchroute("run", job, "--json")
        assert first.code == 4
        assert first.err.count("limits.max_cost_usd: ") == 2, "each lane says it once"
        spent = json.loads(first.out)
        assert spent["cost_usd"] + spent["unconfirmed_usd"] <= 2
        assert billed_usd(provider.stats()) <= 2
        assert_next_rows_did_not_fit(first.err)
        second = batchroute("run", job, "--json", "--set", "limits.max_cost_usd=1000")
        report = json.loads(second.out)
        assert (report["ok"], report["remaining"], report["state"]) == (300, 0, "complete")
        assert Decimal(repr(report["cost_usd"])) <= billed_usd(provider.stats()) + Decimal("1e-9")


def test_a_row_that_nothing_bounds_is_refused_under_a_budget(tmp_path: Path, batchroute: Command) -> None:
    lines = [{"prompt": "a", "params": {"max_tokens": 5}}, {"prompt": "b", "params": None}]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with threaded_simulator() as provider:
        own = {**on_both("params", None), "input.params": "params"}
        job = write_job(tmp_path, JOB, on_both("base_url", provider.url), own)
        said = batchroute("run", job, "--json")
        assert provider.stats().requests == 1
    report = json.loads(said.out)
    assert (said.code, report["ok"], report["refused"]) == (3, 1, 1)


def test_an_endpoint_that_nobody_reaches_takes_none_of_the_money(tmp_path: Path, batchroute: Command) -> None:
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"{n}"}) + "\n" for n in range(50)))
    with threaded_simulator() as provider:
        provider.refuse()
        job = write_job(tmp_path, JOB, on_both("base_url", provider.url), {"limits.outage_s": 1})
        said = batchroute("run", job, "--json")
        report = json.loads(said.out)
        assert (said.code, report["unconfirmed_usd"], report["cost_usd"]) == (4, 0, 0)
        assert "does not answer" in said.err
        provider.listen()
        said = batchroute("run", job, "--json", "--set", "limits.max_cost_usd=10")
        assert (said.code, json.loads(said.out)["ok"]) == (0, 50)


# --- kills in between


RUN = [sys.executable, "-c", "from batchroute.cli import main; main()", "run", "job.toml", "--json"]


def killed_after(folder: Path, provider: ThreadedSimulator, requests: int, seconds: float) -> int | None:
    """Kills a run's process group after so many requests and so much time; its exit code if it ended before."""
    target = provider.stats().requests + requests
    quiet = subprocess.DEVNULL
    with subprocess.Popen(RUN, cwd=folder, start_new_session=True, stdout=quiet, stderr=quiet) as run:
        while provider.stats().requests < target and run.poll() is None:
            time.sleep(0.002)
        time.sleep(seconds)
        if run.poll() is not None:
            return run.returncode
        os.killpg(run.pid, signal.SIGKILL)
    return None


@pytest.mark.proof
@pytest.mark.timeout(600)
def test_not_even_runs_that_are_killed_at_concurrency_500_pass_the_limit(tmp_path: Path) -> None:
    """Inputs longer than estimated, answers up to the limit, attempts without usage, until the money is gone.

    Half of the rows go to each lane, and the money is gone when either has about a third of its own left.
    """
    chance, rows, limit = random.Random(500), 9000, 600  # noqa: S311 - a schedule, not a secret
    prompts = (json.dumps({"prompt": f"{n}: " + "tell me more " * (n % 40)}) for n in range(rows))
    (tmp_path / "prompts.jsonl").write_text("\n".join(prompts))
    faults = {"no_usage": 0.02, "cut": 0.02, "reset": 0.02, "503": 0.02}
    odd = Behaviour(latency_s=0.2, jitter_s=0.2, characters_per_token=1.0, response_tokens=400, faults=faults)
    wide = {**on_both("max_concurrency", 500), "limits.max_cost_usd": limit}
    wide["routing.threshold"] = 0.35  # that of about 270 characters
    kills = 0
    with threaded_simulator(odd) as provider:
        write_job(tmp_path, JOB, wide, on_both("base_url", provider.url))
        while (code := killed_after(tmp_path, provider, chance.randint(1, 500), chance.uniform(0, 0.3))) is None:
            kills += 1
            assert billed_usd(provider.stats()) <= limit
        assert code == 4
        assert kills >= 4
        ended = subprocess.run(RUN, cwd=tmp_path, check=False, capture_output=True, text=True)
        report = json.loads(ended.stdout)
        taken = report["cost_usd"] + report["unconfirmed_usd"]
        assert ended.returncode == 4
        assert billed_usd(provider.stats()) <= Decimal(repr(taken))
        assert taken <= limit
        assert_next_rows_did_not_fit(ended.stderr)
        assert provider.stats().max_in_flight > 400
        higher = [*RUN, "--set", "limits.max_cost_usd=5000"]
        report = json.loads(subprocess.run(higher, cwd=tmp_path, check=True, capture_output=True).stdout)
        assert (report["ok"], report["state"]) == (rows, "complete")


# --- two lanes and one budget, in virtual time

ENDS = st.sampled_from(["all of it", "some of it", "some of it", "nobody knows", "turned away", "unsent", "fails"])


@dataclass
class Till:
    """Two lanes that share a budget, an endpoint that bills, and what it billed."""

    limit: Decimal
    rows: list[tuple[int, float, str]]  # most cents, seconds, how its first attempt ends
    billed: Decimal = Decimal(0)
    in_flight: Decimal = Decimal(0)
    most_at_stake: Decimal = Decimal(0)
    settled: set[int] = field(default_factory=set)
    stops: list[tuple[str, Decimal]] = field(default_factory=list)
    asked: set[int] = field(default_factory=set)

    async def work(self) -> None:
        self.budget = Budget(self.limit, Account(Decimal(0), Ledger(), lambda _: None))
        spending = Spending(self.budget, "strong", lambda usage: Decimal(usage.prompt_tokens or 0) / 100)
        policy = RetryPolicy(max_attempts=3, outage_s=600.0, stop_after_same_refusal=0)
        lanes = [
            Lane(
                {"": self._send},
                policy,
                OwnLimits(EndpointLimits(5), spending),
                self._say,
                most_open=74,
                clock=asyncio.get_running_loop().time,
            )
            for _ in "ab"
        ]
        await asyncio.gather(
            *(lane.deliver(self._feed(number), LaneSink(self, lane)) for number, lane in enumerate(lanes))
        )

    async def _feed(self, lane: int) -> AsyncGenerator[Request, None]:
        for row, (most, _, _) in list(enumerate(self.rows))[lane::2]:
            prompt = Prompt(file="p", row=row, id=None, messages=b"[]")
            yield Request(prompt, str(row).encode(), 1, 0.5, "score", most_usd=Decimal(most) / 100)

    async def _send(self, request: Request) -> Answer:
        row = request.prompt.row
        most, seconds, end = self.rows[row]
        end = "some of it" if row in self.asked and end in {"fails", "unsent"} else end
        self.asked.add(row)
        self.in_flight += Decimal(most) / 100
        self.most_at_stake = max(self.most_at_stake, self.billed + self.in_flight)
        await asyncio.sleep(seconds)
        self.in_flight -= Decimal(most) / 100
        used = {"all of it": most, "some of it": most // 2, "nobody knows": most, "fails": most}.get(end, 0)
        self.billed += Decimal(used) / 100
        usage = Usage(prompt_tokens=used) if end.endswith("of it") else None
        verdict = {"turned away": "refused", "unsent": "transient", "fails": "transient"}.get(end, "ok")
        return Answer(
            verdict=verdict,  # type: ignore[arg-type]
            error=None if verdict == "ok" else f"it is {end} {row}",
            completion=Completion(response="", usage=usage),
            turned_away=end == "turned away",
            unsent=end == "unsent",
        )

    def _say(self, reason: str) -> None:
        self.stops.append((reason, self.in_flight))


@dataclass
class LaneSink:
    """As in a run: a request that does not fit stops its lane."""

    till: Till
    lane: Lane[Request]

    def settle(self, request: Request, outcome: Outcome) -> None:
        if outcome.status == "open":
            self.lane.stop(stop_reason(outcome.answer))
        else:
            self.till.settled.add(request.prompt.row)

    def leave(self, request: Request, spent: Spent) -> None:
        pass


@settings(max_examples=200)
@given(
    limit=st.integers(1, 4000).map(lambda cents: Decimal(cents) / 100),
    rows=st.lists(st.tuples(st.integers(1, 300), st.floats(0.01, 5), ENDS), min_size=1, max_size=40),
)
def test_two_lanes_never_put_more_at_stake_than_the_limit_and_use_it_up(
    limit: Decimal, rows: list[tuple[int, float, str]]
) -> None:
    till = Till(limit, rows)
    run_virtually(till.work())
    assert till.most_at_stake <= limit
    assert till.billed <= till.budget.taken <= limit
    assert till.budget.reserved == 0
    assert all("limits.max_cost_usd: the next row may cost" in reason for reason, _ in till.stops)
    assert all(in_flight == 0 for _, in_flight in till.stops), "answers in flight may still make room"
    left = set(range(len(rows))) - till.settled
    assert bool(left) == bool(till.stops)
    assert not left or limit - till.budget.taken < max(Decimal(rows[row][0]) for row in left) / 100
