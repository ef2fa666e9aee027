"""Several processes at work on one run, each with a share of its shards; counted at the server."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from batchroute.simulate.behaviour import Behaviour
from command import assert_one_message
from jobs import on_both
from servers import threaded_simulator
from shares import ROWS, answers, begun, report, shares, write_shares_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from command import Said
    from servers import ThreadedSimulator

BOUNDED = on_both("params", {"max_tokens": 200})


@pytest.fixture
def server() -> Iterator[ThreadedSimulator]:
    with threaded_simulator(Behaviour(latency_s=0.01)) as simulator:
        yield simulator


def run_locally(folder: Path) -> Path:
    """The same job in one process, without shards."""
    process = begun(folder, "run", "job.toml", "--output", "local")
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 0, said
    return folder / "local"


def test_shares_give_what_one_process_gives(server: ThreadedSimulator, tmp_path: Path) -> None:
    write_shares_job(tmp_path, server.url)
    local = run_locally(tmp_path)
    asked_before = server.stats().requests
    said = shares(tmp_path, 3)
    run = tmp_path / "run"
    assert [code for code, _ in said] == [0, 0, 0], said
    assert server.stats().requests - asked_before == ROWS, "each row was asked once"
    assert answers(run) == answers(local)
    assert len(list((run / "shards").iterdir())) > 3
    assert (run / "_SUCCESS").exists()
    assert report(run)["cost_usd"] == pytest.approx(report(local)["cost_usd"])
    same = ("state", "rows", "ok", "strong_rows", "threshold", "score_histogram", "prompt_tokens")
    assert {key: report(run)[key] for key in same} == {key: report(local)[key] for key in same}
    assert (run / "failed.jsonl").read_bytes() == b""


def test_a_share_of_strong_rows_waits_for_all_scores(server: ThreadedSimulator, tmp_path: Path) -> None:
    write_shares_job(tmp_path, server.url, {"routing.threshold": None, "routing.strong_fraction": 0.1})
    local, run = run_locally(tmp_path), tmp_path / "run"
    asked_before = server.stats().requests
    [first] = shares(tmp_path, 1, command="score")[:1]
    assert first[0] == 0, first
    for part in list((run / "scores").glob("part-00003-*")):
        part.unlink()
    early = begun(tmp_path, "run", "job.toml", "--shard", "0/2")
    said = early.communicate(timeout=120)[1]
    assert early.returncode == 4
    assert "scores of shard 3 are missing" in said
    assert server.stats().requests == asked_before, "nobody was asked"
    assert [code for code, _ in shares(tmp_path, 2, command="score")] == [0, 0]
    assert [code for code, _ in shares(tmp_path, 2)] == [0, 0]
    assert report(run)["threshold"] == report(local)["threshold"]
    assert answers(run) == answers(local)


def test_a_killed_share_goes_on_where_it_was(server: ThreadedSimulator, tmp_path: Path) -> None:
    server.control({"latency_s": 0.1})
    write_shares_job(tmp_path, server.url)
    kills = 0
    while kills < 3:
        at = server.stats().requests + 30
        victim = begun(tmp_path, "run", "job.toml", "--shard", "0/2")
        while server.stats().requests < at and victim.poll() is None:
            time.sleep(0.005)
        os.killpg(victim.pid, signal.SIGKILL)
        victim.communicate()
        kills += 1
    assert [code for code, _ in shares(tmp_path, 2)] == [0, 0]
    rows = answers(tmp_path / "run")
    assert [row["row"] for row in rows] == list(range(ROWS))
    slots_of_a_share = 2 * 8 // 2
    assert server.stats().requests - ROWS <= kills * slots_of_a_share


def test_nobody_works_where_another_process_does(
    server: ThreadedSimulator, tmp_path: Path, batchroute: Callable[..., Said]
) -> None:
    server.control({"latency_s": 30.0})
    write_shares_job(tmp_path, server.url)
    with begun(tmp_path, "run", "job.toml", "--shard", "0/2") as at_work:
        try:
            while not server.stats().requests:
                time.sleep(0.01)
            job = str(tmp_path / "job.toml")
            assert_one_message(batchroute("run", job, "--quiet", "--shard", "0/2"), 4, "share 0/2 is at work")
            assert_one_message(batchroute("run", job, "--quiet", "--shard", "0/3"), 4, "share 0/2", "the same N")
            assert_one_message(batchroute("run", job, "--quiet"), 4, "is at work")
        finally:
            os.killpg(at_work.pid, signal.SIGKILL)


def test_a_run_without_shards_is_not_cut_later(
    server: ThreadedSimulator, tmp_path: Path, batchroute: Callable[..., Said]
) -> None:
    write_shares_job(tmp_path, server.url, rows=20)
    job = str(tmp_path / "job.toml")
    assert batchroute("run", job, "--quiet").code == 0
    assert_one_message(batchroute("run", job, "--quiet", "--shard", "0/2"), 2, "without shards", "input.reuse")


def test_a_run_that_has_shards_goes_on_over_them(
    server: ThreadedSimulator, tmp_path: Path, batchroute: Callable[..., Said]
) -> None:
    write_shares_job(tmp_path, server.url)
    job = str(tmp_path / "job.toml")
    assert batchroute("run", job, "--quiet", "--shard", "1/2", "--limit", "100").code == 0
    some = server.stats().requests
    assert 0 < some < 100
    assert batchroute("run", job, "--quiet", "--limit", "100").code == 0
    assert server.stats().requests == 100
    assert [row["row"] for row in answers(tmp_path / "run")] == list(range(100))
    assert batchroute("run", job, "--quiet").code == 0
    assert server.stats().requests == ROWS
    assert [row["row"] for row in answers(tmp_path / "run")] == list(range(ROWS))


def test_shares_of_the_money_never_add_up_to_more(server: ThreadedSimulator, tmp_path: Path) -> None:
    limit = 0.05
    write_shares_job(tmp_path, server.url, {"limits.max_cost_usd": limit, **BOUNDED})
    said = shares(tmp_path, 3)
    assert {code for code, _ in said} == {4}, said
    assert all("max_cost_usd" in words for _, words in said)
    billed = report(tmp_path / "run")
    assert 0 < billed["total_usd"] + billed["unconfirmed_usd"] <= limit


def test_what_needs_the_whole_input_is_refused(tmp_path: Path, batchroute: Callable[..., Said]) -> None:
    changes = {"limits.max_cost_usd": 1, "limits.on_budget": "downgrade", **BOUNDED}
    write_shares_job(tmp_path, "http://127.0.0.1:9/v1", changes)
    said = batchroute("run", str(tmp_path / "job.toml"), "--quiet", "--shard", "0/2")
    assert_one_message(said, 2, "limits.on_budget", "one process", "budget_usd")


def test_a_shard_that_ends_processes_is_left_and_named(server: ThreadedSimulator, tmp_path: Path) -> None:
    (tmp_path / "deadly.py").write_text(
        "import os, numpy as np\n"
        "class Router:\n"
        "    identity = 'deadly:1'\n"
        "    def score(self, prompts):\n"
        "        if any('question 100 ' in prompt for prompt in prompts):\n"
        "            os._exit(9)\n"
        "        return np.full(len(prompts), 0.25)\n"
    )
    write_shares_job(tmp_path, server.url, {"router.use": "deadly:Router"})
    ends = [shares(tmp_path, 1)[0] for _ in range(4)]
    assert [code for code, _ in ends] == [9, 9, 9, 4], ends
    assert "prompts.jsonl, rows" in ends[-1][1]
    done = {row["row"] for row in answers(tmp_path / "run")}
    assert 100 not in done
    assert len(done) > ROWS * 0.8, "all other shards are done"


def test_rows_go_to_the_other_side_within_their_shard(server: ThreadedSimulator, tmp_path: Path) -> None:
    changes = {"endpoints.weak.params": {"max_tokens": 20}, "endpoints.weak.on_finish": {"length": "other"}}
    write_shares_job(tmp_path, server.url, changes)
    local, run = run_locally(tmp_path), tmp_path / "run"
    assert [code for code, _ in shares(tmp_path, 2)] == [0, 0]
    assert any(row["route_reason"] == "finish" for row in answers(run))
    assert answers(run) == answers(local)


def test_answers_of_an_earlier_run_are_taken_over(server: ThreadedSimulator, tmp_path: Path) -> None:
    write_shares_job(tmp_path, server.url)
    assert [code for code, _ in shares(tmp_path, 2)] == [0, 0]
    asked = server.stats().requests
    write_shares_job(tmp_path, server.url, {"output.path": "again", "input.reuse": ["run"]}, rows=ROWS)
    assert [code for code, _ in shares(tmp_path, 1)] == [0]
    assert server.stats().requests == asked, "nothing is paid twice"


def test_a_plan_of_a_run_with_shards_scores_what_is_left_of_them(
    server: ThreadedSimulator, tmp_path: Path, batchroute: Callable[..., Said]
) -> None:
    write_shares_job(tmp_path, server.url, {"routing.threshold": None, "routing.strong_fraction": 0.1})
    job, scores = str(tmp_path / "job.toml"), tmp_path / "run" / "scores"
    assert batchroute("score", job, "--shard", "1/2").code == 0
    half = {part.name for part in scores.iterdir()}
    planned = batchroute("plan", job, "--json")
    assert (planned.code, json.loads(planned.out)["rows"]) == (0, ROWS)
    after = {part.name for part in scores.iterdir()}
    assert half < after
    assert all(name.count("-") == 2 for name in after), "each belongs to a shard"
    found = batchroute("calibrate", job, "--strong-fraction", "0.1", "--json")
    assert json.loads(found.out)["threshold"] == json.loads(planned.out)["threshold"]
    assert server.stats().requests == 0


def test_a_plan_comes_before_a_run_by_workers(
    server: ThreadedSimulator, tmp_path: Path, batchroute: Callable[..., Said]
) -> None:
    write_shares_job(tmp_path, server.url, {"engine.use": "processes", "engine.workers": 1})
    job, run = str(tmp_path / "job.toml"), tmp_path / "run"
    assert batchroute("plan", job, "--quiet").code == 0
    cut = (run / "shards.json").read_bytes()
    assert [code for code, _ in shares(tmp_path, 2)] == [0, 0]
    assert (run / "shards.json").read_bytes() == cut
    assert [row["row"] for row in answers(run)] == list(range(ROWS))


def test_a_share_that_ends_says_so_of_itself_and_the_last_one_of_the_run(
    server: ThreadedSimulator, tmp_path: Path
) -> None:
    write_shares_job(tmp_path, server.url)
    ended = {}
    for share, key in (("0/2", "secret"), ("1/2", None), ("0/2", None)):
        server.control({"api_key": key})
        process = begun(tmp_path, "run", "job.toml", "--shard", share)
        ended[share, key] = (process.communicate(timeout=120)[1], process.returncode, report(tmp_path / "run"))
    rejected, left, whole = ended.values()
    assert rejected[1] == 4
    assert "share 0/2 incomplete" in rejected[0]
    assert "key rejected" in rejected[0]
    assert (left[1], left[2]["state"]) == (0, "incomplete")
    assert "nightly share 1/2 complete " in left[0]
    assert f"run incomplete with {left[2]['ok']} of {ROWS} rows, $" in left[0]
    [why] = left[2]["stopped"]
    assert why.startswith("share 0/2: ")
    assert "key rejected" in why
    assert (whole[1], whole[2]["state"], whole[2]["stopped"]) == (0, "complete", [])
    assert f"run complete with {ROWS} rows, $" in whole[0]


def test_what_a_share_that_is_stopped_has_done_is_counted(server: ThreadedSimulator, tmp_path: Path) -> None:
    server.control({"latency_s": 0.2})
    write_shares_job(tmp_path, server.url)
    share = begun(tmp_path, "run", "job.toml", "--shard", "0/1")
    while server.stats().requests < 50:
        time.sleep(0.01)
    share.send_signal(signal.SIGINT)
    said = share.communicate(timeout=60)[1]
    assert share.returncode == 130
    done = len(answers(tmp_path / "run"))
    assert done == server.stats().requests, "what was in flight was awaited"
    assert f"incomplete {done} of {ROWS} rows" in said
    ended = report(tmp_path / "run")
    assert (ended["state"], ended["ok"], ended["remaining"]) == ("incomplete", done, ROWS - done)


def test_the_last_share_says_what_is_odd_about_the_input(server: ThreadedSimulator, tmp_path: Path) -> None:
    write_shares_job(tmp_path, server.url, rows=1)
    (tmp_path / "prompts.jsonl").write_text("")
    [(code, words)] = shares(tmp_path, 1)
    assert code == 0
    assert "the input has no row" in words


def test_a_threshold_found_by_few_rows_is_found_anew_by_more(
    server: ThreadedSimulator, tmp_path: Path, batchroute: Callable[..., Said]
) -> None:
    write_shares_job(tmp_path, server.url, {"routing.threshold": None, "routing.strong_fraction": 0.1})
    local, run, job = run_locally(tmp_path), tmp_path / "run", str(tmp_path / "job.toml")
    asked = server.stats().requests
    assert batchroute("score", job, "--shard", "0/1", "--limit", "20").code == 0
    assert batchroute("run", job, "--shard", "0/1", "--limit", "20", "--quiet").code == 0
    few = report(run)["threshold"]
    assert batchroute("run", job, "--shard", "0/2", "--quiet").code == 4, "half of the scores are missing"
    said = batchroute("run", job, "--shard", "0/1", "--quiet")
    if said.code == 2:  # one of the few rows would change its side
        assert "would change side" in said.err
        assert server.stats().requests == asked + 20
    else:
        assert (said.code, report(run)["threshold"]) == (0, report(local)["threshold"])
    assert few != report(local)["threshold"], "the job is one that can tell"
