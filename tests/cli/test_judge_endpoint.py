"""The judge of a pilot is an endpoint as the two sides are: its key, its price, its connections, its name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from batchroute.job.prices import open_targets
from batchroute.run.notify import notify
from batchroute.send.open import asked_by, connections, scrubber_for
from batchroute.simulate.behaviour import Behaviour
from jobs import job_of, judged, on_both, write_job
from servers import threaded_simulator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batchroute.job.spec import Job
    from command import Said

    Command = Callable[..., Said]

KEY = "sk-canary-8f3kQ71xZpL0vB6n"


def a_job(folder: Path, *changes: dict[str, Any]) -> Job:
    merged = {key: value for change in changes for key, value in change.items()}
    return job_of(folder / "prompts.jsonl", folder / "run", merged)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"prompt": "hello"}) + "\n")
    return tmp_path


def test_it_is_asked_beside_the_sides(tmp_path: Path) -> None:
    job = a_job(tmp_path, judged(max_concurrency=7), on_both("max_concurrency", 10))
    assert list(job.asked) == ["strong", "weak", "judge"]
    assert open_targets(job.asked)["judge"].model == "judge-model"
    assert connections(asked_by(job)) == 27


def test_without_one_the_sides_are_all(tmp_path: Path) -> None:
    pilot = {"pilot.judge": "reference", "pilot.reference": "answer"}
    assert list(a_job(tmp_path, pilot).asked) == list(a_job(tmp_path).asked) == ["strong", "weak"]


def test_its_key_is_taken_out_of_what_any_provider_says(tmp_path: Path) -> None:
    job = a_job(tmp_path, judged(api_key_env="JUDGE_KEY", headers={"x-team": {"env": "JUDGE_TEAM"}}))
    scrub = scrubber_for(asked_by(job), {"JUDGE_KEY": KEY, "JUDGE_TEAM": KEY[::-1]})
    assert scrub(f"no such key: {KEY}, nor {KEY[::-1]}") == "no such key: [secret], nor [secret]"


def test_the_command_of_notify_does_not_get_its_key(tmp_path: Path) -> None:
    told = tmp_path / "told"
    command = ["sh", "-c", f'echo "$JUDGE_KEY" > {told}; cat > /dev/null']
    job = a_job(tmp_path, judged(api_key_env="JUDGE_KEY"), {"notify.command": command})
    assert notify(job, b"{}", {"JUDGE_KEY": KEY, "PATH": "/usr/bin:/bin"}) is None
    assert told.read_text() == "\n"


def test_a_budget_needs_its_price(folder: Path, batchroute: Command) -> None:
    bounded = on_both("params", {"max_tokens": 9}) | {"limits.max_cost_usd": 1}
    house = judged(model="house-brand-70b", price=None, params={"max_tokens": 9})
    said = batchroute("check", write_job(folder, bounded, house, on_both("price", {"input": 1, "output": 1})))
    assert said.code == 2
    assert "limits.max_cost_usd needs prices: set pilot.endpoint.price (a server on this machine" in said.err


def test_a_budget_for_the_rows_alone_does_not(folder: Path, batchroute: Command) -> None:
    house = judged(model="house-brand-70b", price=None)
    rows = {"routing.quality": None, "routing.budget_usd": 1}
    said = batchroute("check", write_job(folder, house, rows, on_both("price", {"input": 1, "output": 1})))
    assert said.code == 0, said.err
    assert "judge: house-brand-70b, http://127.0.0.1:9/v1; price unknown" in said.out


def test_its_key_is_looked_for_and_must_not_travel_open(
    folder: Path, batchroute: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_job(folder, judged(base_url="http://judge.example/v1", api_key_env="JUDGE_KEY"))
    said = batchroute("check", path)
    assert said.code == 2
    assert "pilot.endpoint.api_key_env: JUDGE_KEY is not set" in said.err
    monkeypatch.setenv("JUDGE_KEY", KEY)
    said = batchroute("check", path)
    assert "judge: the key goes to another host over plain http; use https" in said.out


def test_online_asks_it_too(folder: Path, batchroute: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    with threaded_simulator() as sides, threaded_simulator(Behaviour(api_key="another")) as judge:
        path = write_job(
            folder,
            on_both("base_url", sides.url) | on_both("price", {"input": 1, "output": 1}),
            judged(base_url=judge.url, api_key_env="JUDGE_KEY"),
        )
        said = batchroute("check", path, "--online")
        assert judge.stats().by_status == {"401": 2}, "its models, and one answer"
    assert said.code == 4
    assert said.err.startswith("error: judge: key rejected")
    assert "check the key it names" in said.err
    assert KEY[3:11] not in said.out + said.err
