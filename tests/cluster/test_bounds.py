"""What a run on a cluster may cost at most: money, rows of a lane that refuses all, memory, keys, poison."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchroute.simulate.behaviour import Behaviour
from cluster_runs import ClusterRun, ended, send, wait_for, workers
from jobs import PRICE, on_both
from ray_cluster import KEY, KEY_NAME, processes
from servers import simulator_process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ray_cluster import RayCluster
    from servers import SimulatorProcess

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

LIMIT_USD = Decimal(2)
KEYED = on_both("api_key_env", KEY_NAME)
BOUND = {**on_both("params", {"max_tokens": 200}), **on_both("max_concurrency", 16)}
FOUR = {"engine.workers": 4, "engine.lease_s": 1.0}
POISON = """
import os
from pathlib import Path

class Deadly:
    def score(self, texts):
        if any("question 700 " in text for text in texts):
            os._exit(1)
        return [0.9] * len(texts)
"""


def billed_usd(server: SimulatorProcess) -> Decimal:
    """What a provider would bill for all that it answered, whether or not the answer arrived."""
    stats = server.stats()
    price = {name: Decimal(str(usd)) / 1_000_000 for name, usd in PRICE.items()}
    return stats.prompt_tokens * price["input"] + stats.completion_tokens * price["output"]


@pytest.fixture
def keyed() -> Iterator[SimulatorProcess]:
    """A provider that takes the cluster's key and no other."""
    with simulator_process(Behaviour(latency_s=0.2, api_key=KEY, count_prompts=True)) as server:
        yield server


def test_money_is_never_passed_and_keys_stay_where_they_are(
    cluster: RayCluster, keyed: SimulatorProcess, tmp_path: Path
) -> None:
    run = ClusterRun(cluster, tmp_path, rows=4_800, files=24)
    run.write(keyed, {**KEYED, **FOUR, **BOUND, "limits.max_cost_usd": float(LIMIT_USD)})
    with run.start(environ={KEY_NAME: KEY}) as driver:
        for kill in range(5):
            wait_for(driver, lambda kill=kill: keyed.stats().requests > 100 * (kill + 1))
            send(workers()[0], signal.SIGKILL)
            assert billed_usd(keyed) <= LIMIT_USD
        assert_no_key_in(cluster, run, keyed)
        while driver.poll() is None:
            assert billed_usd(keyed) <= LIMIT_USD
            time.sleep(0.1)
        ended(driver, 4)
    assert_no_key_in(cluster, run, keyed)
    report = run.report()
    print(f"billed {billed_usd(keyed)} of {LIMIT_USD}; {report['engine']}")  # noqa: T201 - a figure
    assert billed_usd(keyed) <= LIMIT_USD


def test_little_money_is_left_where_rows_are(cluster: RayCluster, keyed: SimulatorProcess, tmp_path: Path) -> None:
    run = ClusterRun(cluster, tmp_path, rows=4_800, files=24)
    run.write(keyed, {**KEYED, **FOUR, **BOUND, "limits.max_cost_usd": float(LIMIT_USD)})
    ended(run.start(environ={KEY_NAME: KEY}), 4)
    print(f"billed {billed_usd(keyed)} of {LIMIT_USD}")  # noqa: T201
    assert Decimal("0.98") * LIMIT_USD <= billed_usd(keyed) <= LIMIT_USD


def assert_no_key_in(cluster: RayCluster, run: ClusterRun, server: SimulatorProcess) -> None:
    """No eight characters of the key in any file, argument or table; the provider's own settings have it."""
    windows = [KEY[at : at + 8].encode() for at in range(len(KEY) - 7)]
    texts = {f"{path}": path.read_bytes() for folder in (run.run, cluster.folder) for path in files_in(folder)}
    texts |= {f"arguments of {pid}": arguments(pid) for pid in processes() if pid != server.process.pid}
    listing = "import ray, sys; ray.init(sys.argv[1], log_to_driver=False); print(ray._private.state.actors())"
    texts["actors"] = subprocess.run(
        [sys.executable, "-c", listing, cluster.address], env=cluster.environ, capture_output=True, check=True
    ).stdout
    leaks = [name for name, text in texts.items() if any(window in text for window in windows)]
    assert not leaks


def files_in(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def arguments(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_a_key_that_is_refused_costs_one_request_a_lane(cluster: RayCluster, tmp_path: Path) -> None:
    refusing = Behaviour(latency_s=0.2, api_key="sk-another-key-0123456789")
    with simulator_process(refusing) as strong, simulator_process(refusing) as weak:
        run = ClusterRun(cluster, tmp_path, rows=2_400, files=24)
        run.write(strong, {**KEYED, **FOUR, "endpoints.weak.base_url": weak.url})
        ended(run.start(environ={KEY_NAME: KEY}), 4)
        assert [strong.stats().requests, weak.stats().requests] == [1, 1]


def test_the_same_refusal_is_not_asked_for_on_each_worker(cluster: RayCluster, tmp_path: Path) -> None:
    with simulator_process(Behaviour(latency_s=0.1, poison={"400": 1.0})) as server:
        run = ClusterRun(cluster, tmp_path, rows=2_400, files=24)
        run.write(server, {**FOUR, "routing.threshold": 0.0})
        ended(run.start(), 4)
        assert server.stats().requests <= 20


def test_a_machine_without_the_key_is_named(cluster: RayCluster, keyed: SimulatorProcess, tmp_path: Path) -> None:
    run = ClusterRun(cluster, tmp_path, rows=240, files=2)
    run.write(keyed, on_both("api_key_env", "ANOTHER_KEY"))
    _, err = ended(run.start(environ={"ANOTHER_KEY": KEY}), 2)
    assert f"{socket.gethostname()}: ANOTHER_KEY is not set" in err
    assert keyed.stats().requests == 0


def test_senders_have_no_torch(cluster: RayCluster, keyed: SimulatorProcess, tmp_path: Path) -> None:
    """The cluster has a GPU, as Ray counts: rows are scored by an actor that has it, and sends nothing."""
    run = ClusterRun(cluster, tmp_path, rows=4_800, files=24)
    run.write(keyed, {**KEYED, **FOUR, "router.use": "mf", "router.device": "cpu"})
    with run.start(environ={KEY_NAME: KEY}) as driver:
        wait_for(driver, lambda: any("libtorch" in maps(pid) for pid in workers()))
        assert keyed.stats().requests == 0
        wait_for(driver, lambda: keyed.stats().requests > 3_000)
        for pid in workers():
            most_kb = int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0])
            print(f"VmHWM {most_kb / 1024:.0f} MB")  # noqa: T201
            assert most_kb <= 300 * 1024
            assert "libtorch" not in maps(pid)
        ended(driver, 0)
    run.assert_whole(keyed)


def maps(pid: int) -> str:
    """What the process has in its memory, by the names of files."""
    try:
        return Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return ""


def test_a_shard_that_workers_die_of_is_left(cluster: RayCluster, tmp_path: Path) -> None:
    with simulator_process(Behaviour(latency_s=0.05, count_prompts=True)) as server:
        run = ClusterRun(cluster, tmp_path, rows=2_400, files=24)
        run.write(server, {**FOUR, "router.use": "deadly:Deadly"})
        (run.folder / "deadly.py").write_text(POISON)
        _, err = ended(run.start(), 4)
        assert "007.jsonl" in err
        assert len(run.rows_done()) == 2_300
        assert json.loads((run.run / "report.json").read_text())["engine"]["shards_done"] == 23
