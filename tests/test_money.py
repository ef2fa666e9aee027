"""The hard limit on money, counted at the provider."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from batchroute.simulate import Behaviour
from command import Said, batchroute
from servers import threaded_simulator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batchroute.simulate import Stats

    Command = Callable[..., Said]

__all__ = ["batchroute"]

JOB = """
[input]
path = "prompts.jsonl"
[output]
path = "run"
[router]
use = "length"
[routing]
threshold = 0.1
[endpoints.strong]
model = "dear"
base_url = "URL"
max_concurrency = 100
params = { max_tokens = 200 }
price = { input = 100, output = 400 }
[endpoints.weak]
model = "cheap"
base_url = "URL"
max_concurrency = 100
params = { max_tokens = 200 }
price = { input = 100, output = 400 }
[limits]
max_cost_usd = 2
"""
PER_TOKEN = (Decimal(100) / 1_000_000, Decimal(400) / 1_000_000)


def billed_usd(stats: Stats) -> Decimal:
    """What the provider would charge, for answers that never arrived, too."""
    return stats.prompt_tokens * PER_TOKEN[0] + stats.completion_tokens * PER_TOKEN[1]


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
        (tmp_path / "job.toml").write_text(JOB.replace("URL", provider.url))
        first = batchroute("run", tmp_path / "job.toml", "--json")
        assert first.code == 4
        assert first.err.count("limits.max_cost_usd") == 2, "each lane says it once"
        spent = json.loads(first.out)
        assert spent["cost_usd"] + spent["unconfirmed_usd"] <= 2
        assert billed_usd(provider.stats()) <= 2
        assert spent["cost_usd"] + spent["unconfirmed_usd"] > 1.8, "it stopped only when the next row did not fit"
        second = batchroute("run", tmp_path / "job.toml", "--json", "--set", "limits.max_cost_usd=1000")
        report = json.loads(second.out)
        assert (report["ok"], report["remaining"], report["state"]) == (300, 0, "complete")
        assert Decimal(repr(report["cost_usd"])) <= billed_usd(provider.stats()) + Decimal("1e-9")


def test_a_row_that_nothing_bounds_is_refused_under_a_budget(tmp_path: Path, batchroute: Command) -> None:
    lines = [{"prompt": "a", "params": {"max_tokens": 5}}, {"prompt": "b", "params": None}]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with threaded_simulator() as provider:
        text = JOB.replace("URL", provider.url).replace("params = { max_tokens = 200 }\n", "")
        (tmp_path / "job.toml").write_text(text.replace("[output]", 'params = "params"\n[output]'))
        said = batchroute("run", tmp_path / "job.toml", "--json")
        assert provider.stats().requests == 1
    report = json.loads(said.out)
    assert (said.code, report["ok"], report["refused"]) == (3, 1, 1)


def test_an_endpoint_that_nobody_reaches_takes_none_of_the_money(tmp_path: Path, batchroute: Command) -> None:
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": f"{n}"}) + "\n" for n in range(50)))
    with threaded_simulator() as provider:
        provider.refuse()
        (tmp_path / "job.toml").write_text(JOB.replace("URL", provider.url) + "outage_s = 1\n")
        said = batchroute("run", tmp_path / "job.toml", "--json")
        report = json.loads(said.out)
        assert (said.code, report["unconfirmed_usd"], report["cost_usd"]) == (4, 0, 0)
        assert "does not answer" in said.err
        provider.listen()
        said = batchroute("run", tmp_path / "job.toml", "--json", "--set", "limits.max_cost_usd=10")
        assert (said.code, json.loads(said.out)["ok"]) == (0, 50)
