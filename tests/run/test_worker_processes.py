"""Runs by real processes, which are killed, stopped and told to stop; counted at the provider.

Most are proofs: each begins several processes. One is in every run of the suite, for the price of a few seconds.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchroute.run.shards.money import taken_usd
from batchroute.simulate.behaviour import Behaviour
from jobs import on_both, write_job
from servers import simulator_process
from workers import answered, report_of, worker_pids, write_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from servers import SimulatorProcess

LEASE_S = 0.5
TTL_S = 3 * LEASE_S
SLOTS = 10  # of each lane, over all workers
PATIENCE_S = 180.0
BEHAVIOUR = Behaviour(latency_s=0.1, count_prompts=True)


class Driven:
    """`batchroute run` over processes, in a session of its own, as a shell begins it."""

    def __init__(self, folder: Path, provider: SimulatorProcess, **changes: Any) -> None:
        self.run = folder / "run"
        self.provider = provider
        ours = {
            "engine.use": "processes",
            "engine.workers": 3,
            "engine.lease_s": LEASE_S,
            "engine.shard_mb": 0.004,
            "routing.threshold": 0.08,
            **on_both("base_url", provider.url),
            **on_both("max_concurrency", SLOTS),
            **changes,
        }
        self.job = write_job(folder, ours)

    def begin(self, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "batchroute", "run", str(self.job), "--quiet"]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **options
        )

    @contextlib.contextmanager
    def at_work(self, asked: int, **options: Any) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
        """From when so many rows were asked; its workers. Killed at the end where it is still there."""
        driver = self.begin(**options)
        try:
            wait_until(lambda: self.asked() >= asked or driver.poll() is not None)
            assert driver.poll() is None, driver.communicate()
            yield driver, worker_pids(driver.pid)
        finally:
            kill(driver.pid, *worker_pids(driver.pid))
            driver.communicate()

    def asked(self) -> int:
        return self.provider.stats().requests

    def twice(self) -> int:
        """Requests beyond one for each row."""
        return sum(Counter(self.provider.stats().asked).values()) - len(self.provider.stats().asked)

    def end(self, driver: subprocess.Popen[str], code: int = 0) -> str:
        _, said = driver.communicate(timeout=PATIENCE_S)
        assert driver.returncode == code, said
        return said


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.02)


def kill(*pids: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def is_gone(pid: int) -> bool:
    try:
        state = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state in {"Z", "X"}


@pytest.fixture
def provider() -> Iterator[SimulatorProcess]:
    with simulator_process(BEHAVIOUR) as server:
        yield server


def rows_of(count: int) -> set[tuple[str, int]]:
    return {("prompts.jsonl", row) for row in range(count)}


def test_a_worker_that_is_killed_costs_at_most_what_it_had_in_flight(
    tmp_path: Path, provider: SimulatorProcess
) -> None:
    write_rows(tmp_path, 600)
    run = Driven(tmp_path, provider)
    with run.at_work(asked=150) as (driver, workers):
        kill(workers[0])
        run.end(driver)
    assert answered(run.run).keys() == rows_of(600)
    engine = report_of(run.run)["engine"]
    assert engine["workers_lost"] == 1
    assert run.twice() <= engine["paid_twice_bound"] <= 2 * SLOTS


@pytest.mark.proof
def test_ctrl_c_reaches_the_driver_and_drains_everybody(tmp_path: Path, provider: SimulatorProcess) -> None:
    write_rows(tmp_path, 1_500)
    run = Driven(tmp_path, provider)
    with run.at_work(asked=150) as (driver, workers):
        os.killpg(driver.pid, signal.SIGINT)
        run.end(driver, code=130)
        asked = run.asked()
        assert all(map(is_gone, workers))
    assert len(answered(run.run)) == asked < 1_500, "what was in flight is on file"
    assert report_of(run.run)["state"] == "incomplete"
    assert run.twice() == 0


@pytest.mark.proof
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_driver_alone_drains_everybody_and_the_next_run_goes_on(
    tmp_path: Path, provider: SimulatorProcess, number: signal.Signals
) -> None:
    write_rows(tmp_path, 900)
    run = Driven(tmp_path, provider)
    with run.at_work(asked=150) as (driver, _):
        driver.send_signal(number)
        run.end(driver, code=128 + number)
    run.end(run.begin())
    assert answered(run.run).keys() == rows_of(900)
    assert run.twice() == 0


@pytest.mark.proof
def test_a_driver_that_is_killed_leaves_workers_that_send_nothing_more_and_end(
    tmp_path: Path, provider: SimulatorProcess
) -> None:
    """They record what is in flight, so that nothing is paid twice, and a second driver waits for none."""
    write_rows(tmp_path, 900)
    run = Driven(tmp_path, provider)
    with run.at_work(asked=150) as (driver, workers):
        kill(driver.pid)
        driver.communicate()
        wait_until(lambda: all(map(is_gone, workers)))
        asked = run.asked()
    run.end(run.begin())
    assert asked < 900
    assert answered(run.run).keys() == rows_of(900)
    assert run.twice() == 0


@pytest.mark.proof
def test_driver_and_workers_killed_at_once_cost_what_was_in_flight(
    tmp_path: Path, provider: SimulatorProcess
) -> None:
    write_rows(tmp_path, 900)
    run = Driven(tmp_path, provider)
    with run.at_work(asked=150) as (driver, workers):
        kill(driver.pid, *workers)
        driver.communicate()
    run.end(run.begin())
    assert answered(run.run).keys() == rows_of(900)
    assert run.twice() <= 2 * SLOTS


@pytest.mark.proof
def test_workers_are_killed_again_and_again_and_each_row_stands_there_once(
    tmp_path: Path, provider: SimulatorProcess
) -> None:
    write_rows(tmp_path, 2_000)
    run = Driven(tmp_path, provider)
    lost = 0
    with run.at_work(asked=100) as (driver, _):
        while driver.poll() is None and lost < 6:
            workers = worker_pids(driver.pid)
            if workers:
                kill(workers[lost % len(workers)])
                lost += 1
            asked = run.asked()
            wait_until(lambda asked=asked: run.asked() >= asked + 150 or driver.poll() is not None)  # type: ignore[misc]
        run.end(driver)
    assert answered(run.run).keys() == rows_of(2_000)
    assert run.twice() <= report_of(run.run)["engine"]["paid_twice_bound"] <= lost * 2 * SLOTS


@pytest.mark.proof
@pytest.mark.parametrize("ttls", [2, 5])
def test_a_worker_that_is_stopped_for_a_while_sends_nothing_beyond_its_lease(
    tmp_path: Path, provider: SimulatorProcess, ttls: int
) -> None:
    """For 2 leases: it goes on. For more than 3: it is killed, and another one has its shard."""
    write_rows(tmp_path, 2_500)
    run = Driven(tmp_path, provider, **{"engine.workers": 2})
    with run.at_work(asked=150) as (driver, workers):
        os.kill(workers[0], signal.SIGSTOP)
        time.sleep(ttls * TTL_S)
        assert is_gone(workers[0]) == (ttls > 3)
        with contextlib.suppress(ProcessLookupError):
            os.kill(workers[0], signal.SIGCONT)
        run.end(driver)
    assert answered(run.run).keys() == rows_of(2_500)
    assert report_of(run.run)["engine"]["workers_lost"] == (ttls > 3)
    assert run.twice() <= (2 * SLOTS if ttls > 3 else 0)


@pytest.mark.proof
def test_while_the_driver_is_stopped_leases_end_and_workers_fall_silent(
    tmp_path: Path, provider: SimulatorProcess
) -> None:
    write_rows(tmp_path, 3_000)
    run = Driven(tmp_path, provider)
    with run.at_work(asked=150) as (driver, workers):
        driver.send_signal(signal.SIGSTOP)
        time.sleep(TTL_S + 0.5)
        silent = run.asked()
        time.sleep(2 * TTL_S)
        assert run.asked() == silent < 3_000
        driver.send_signal(signal.SIGCONT)
        wait_until(lambda: run.asked() > silent)
        assert worker_pids(driver.pid) == workers, "who was not heard because of the driver is not killed"
        run.end(driver)
    assert answered(run.run).keys() == rows_of(3_000)
    assert run.twice() == 0


@pytest.mark.proof
def test_a_second_driver_is_told_who_is_at_work(tmp_path: Path, provider: SimulatorProcess) -> None:
    write_rows(tmp_path, 900)
    run = Driven(tmp_path, provider)
    with run.at_work(asked=100) as (driver, _):
        assert "a run is at work here" in run.end(run.begin(), code=4)
        run.end(driver)
    assert run.twice() == 0


@pytest.mark.proof
def test_a_row_that_makes_its_process_exit_costs_its_shard_alone(
    tmp_path: Path, provider: SimulatorProcess
) -> None:
    """A shard that cost three workers is left, and named with its place; the others complete."""
    write_rows(tmp_path, 600)
    prompts = (tmp_path / "prompts.jsonl").read_text().splitlines()
    prompts[333] = '{"prompt": "poison"}'
    (tmp_path / "prompts.jsonl").write_text("\n".join(prompts) + "\n")
    (tmp_path / "deadly.py").write_text(
        "import os\nimport numpy as np\n\n\nclass Deadly:\n    identity = 'deadly'\n    vector_length = None\n"
        "    batch_size = 64\n\n    def __init__(self, **_):\n        pass\n\n    def score(self, texts):\n"
        "        if 'poison' in texts:\n            os._exit(77)\n"
        "        return np.array([len(text) / 100 for text in texts])\n"
    )
    run = Driven(tmp_path, provider, router={"use": "deadly:Deadly"})
    said = run.end(run.begin(), code=4)
    done = answered(run.run)
    stopped = report_of(run.run)["stopped"]
    assert len(stopped) == 1, said
    assert "prompts.jsonl, rows" in stopped[0]
    assert ("prompts.jsonl", 333) not in done
    assert 500 < len(done) < 600
    assert report_of(run.run)["engine"]["workers_lost"] == 3


@pytest.mark.proof
def test_a_full_disk_drains_everybody(tmp_path: Path, provider: SimulatorProcess) -> None:
    """No file may grow beyond so much: a journal's write fails, and all workers end at their next renewal."""
    write_rows(tmp_path, 3_000)
    run = Driven(tmp_path, provider, **{"engine.shard_mb": 1.0})

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))

    said = run.end(run.begin(preexec_fn=small_files), code=4)
    assert "run again" in said or "disk" in said, said
    assert run.asked() < 3_000
    run.end(run.begin())
    assert answered(run.run).keys() == rows_of(3_000)


@pytest.mark.proof
def test_a_key_stands_in_no_file_and_no_process_list_and_senders_do_not_load_torch(
    tmp_path: Path, provider: SimulatorProcess
) -> None:
    write_rows(tmp_path, 600)
    key = "canary-0f8e7d6c5b4a"
    changes = {"routing.threshold": None, "routing.strong_fraction": 0.3, **on_both("api_key_env", "CANARY_KEY")}
    run = Driven(tmp_path, provider, **changes)
    environ = {**os.environ, "CANARY_KEY": key}
    with run.at_work(asked=100, env=environ) as (driver, workers):
        lists = [(Path("/proc") / str(pid) / "cmdline").read_bytes() for pid in [driver.pid, *workers]]
        maps = [(Path("/proc") / str(pid) / "maps").read_text() for pid in workers]
        assert workers
        assert all(key.encode() not in words for words in lists)
        assert all("libtorch" not in mapped for mapped in maps)
        said = run.end(driver)
    assert key not in said
    for file in run.run.rglob("*"):
        assert not file.is_file() or key[:8].encode() not in file.read_bytes(), file


@pytest.mark.proof
def test_where_workers_die_and_get_no_further_the_run_ends(tmp_path: Path, provider: SimulatorProcess) -> None:
    write_rows(tmp_path, 100)
    (tmp_path / "wrong.py").write_text(
        "class Wrong:\n    def score(self, texts):\n        raise LookupError('oh')\n"
    )
    run = Driven(tmp_path, provider, **{"router": {"use": "wrong:Wrong"}, "engine.workers": 1})
    said = run.end(run.begin(), code=4)
    assert "LookupError: oh" in said
    assert "workers die and the run gets no further" in said
    assert run.asked() == 0


@pytest.mark.proof
def test_money_is_never_passed_whoever_is_killed_and_what_is_unconfirmed_is_said(tmp_path: Path) -> None:
    """What all ledgers on disk admit, with what results cost, at every look and after each death."""
    write_rows(tmp_path, 3_000)
    limit = Decimal("0.30")
    changes = {"limits.max_cost_usd": float(limit), **on_both("params", {"max_tokens": 20})}
    changes |= on_both("price", {"input": 2.0, "output": 10.0})
    with simulator_process(Behaviour(latency_s=0.1, response_tokens=20, count_prompts=True)) as provider:
        run = Driven(tmp_path, provider, **changes)
        lost = 0
        with run.at_work(asked=100) as (driver, _):
            while driver.poll() is None:
                assert taken_usd(run.run) <= limit
                workers = worker_pids(driver.pid)
                if workers and lost < 4 and run.asked() > 200 * (lost + 1):
                    kill(workers[lost % len(workers)])
                    lost += 1
                time.sleep(0.05)
            said = run.end(driver, code=4)
    report = report_of(run.run)
    assert "limits.max_cost_usd" in report["stopped"][0], said
    assert report["total_usd"] + report["unconfirmed_usd"] <= float(limit)
    assert report["total_usd"] > 0.5 * float(limit)
    assert lost > 0
    assert 0 < report["unconfirmed_usd"] <= lost * 0.02 * float(limit) + lost * 2 * SLOTS * 0.0005


@pytest.mark.proof
@pytest.mark.timeout(300)
def test_requests_a_minute_are_kept_over_all_workers_though_one_is_killed(tmp_path: Path) -> None:
    """Counted at the provider: in no 60 s more than the limit and one; most is used, as long as rows wait."""
    limit = 1_800
    write_rows(tmp_path, 2_400)
    behaviour = Behaviour(latency_s=0.2, keep_arrivals=10_000)
    with simulator_process(behaviour) as provider:
        changes = {"routing.threshold": 1.0, "engine.workers": 3, **on_both("requests_per_minute", limit)}
        run = Driven(tmp_path, provider, **changes, **on_both("max_concurrency", 60))
        with run.at_work(asked=600) as (driver, workers):
            kill(workers[0])
            run.end(driver)
        arrivals = provider.stats().arrivals_s
    assert len(answered(run.run)) == 2_400
    assert most_within(60.0, arrivals) <= limit + 1
    assert most_within(30.0, arrivals) >= 0.9 * limit / 2


def most_within(seconds: float, arrivals: Sequence[float]) -> int:
    """The fullest time of so many seconds."""
    first = most = 0
    for last, at in enumerate(arrivals):
        while at - arrivals[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most
