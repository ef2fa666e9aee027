"""How fast a run on a cluster is, and that all its workers together keep to the limits. Counted at the server."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from batchroute.simulate.behaviour import Behaviour
from cluster_runs import ClusterRun, count_between, ended, most_within, send, wait_for, workers
from servers import simulator_process

if TYPE_CHECKING:
    from pathlib import Path

    from ray_cluster import RayCluster
    from servers import SimulatorProcess

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

ALL_STRONG = {"routing.threshold": 0.0}
LATENCY = Behaviour(latency_s=1.0, count_prompts=True, keep_arrivals=20_000)
RPM, TPM = 2_400, 600_000
WARM_S = 12.0  # by then each worker has had a share of a limit for a while


def span_s(server: SimulatorProcess) -> float:
    stats = server.stats()
    assert stats.first_arrival_s is not None
    assert stats.last_arrival_s is not None
    return stats.last_arrival_s - stats.first_arrival_s


def test_one_worker_is_as_fast_as_no_cluster(cluster: RayCluster, tmp_path: Path) -> None:
    """Both at once, each with a provider of its own: whatever else the machine does, it does to both."""
    with simulator_process(LATENCY) as near, simulator_process(LATENCY) as far:
        here = ClusterRun(cluster, tmp_path / "here", rows=3_000, files=24)
        there = ClusterRun(cluster, tmp_path / "there", rows=3_000, files=24)
        slots = {**ALL_STRONG, "endpoints.strong.max_concurrency": 50, "engine.workers": 1}
        here.write(near, slots)
        there.write(far, slots)
        runs = here.start(engine="local"), there.start()
        for run in runs:
            ended(run, 0)
        assert here.assert_whole(near) == there.assert_whole(far) == 0
        assert far.stats().max_in_flight == 50
        print(f"spans: local {span_s(near):.2f} s, Ray {span_s(far):.2f} s")  # noqa: T201 - a figure
        assert span_s(far) <= 1.05 * span_s(near)


@pytest.mark.parametrize(("count", "share"), [(4, 0.9), (8, 0.8)])
def test_workers_add_up(cluster: RayCluster, tmp_path: Path, count: int, share: float) -> None:
    with simulator_process(LATENCY) as server:
        run = ClusterRun(cluster, tmp_path, rows=1_500 * count, files=4 * count)
        slots = {"endpoints.strong.max_concurrency": 50 * count, "engine.workers": count, "engine.lease_s": 1.0}
        run.write(server, {**ALL_STRONG, **slots})
        run.finish()
        assert run.assert_whole(server) == 0
        stats = server.stats()
        assert stats.max_in_flight <= 50 * count
        begin, last = stats.arrivals_s[0] + WARM_S, stats.arrivals_s[-1] - 5.0  # the last shards, drained
        rate = count_between(stats.arrivals_s, begin, last) / (last - begin)
        print(f"{count} workers: {rate:.1f} rows a second of {50 * count}")  # noqa: T201
        assert rate >= share * 50 * count


def test_limits_hold_whoever_dies(cluster: RayCluster, tmp_path: Path) -> None:
    """Requests a minute on one lane, tokens a minute on the other; a worker is killed on the way."""
    slow = Behaviour(latency_s=0.5, keep_arrivals=20_000)
    # A provider counts tokens as they are billed, and refuses what is above.
    counting = Behaviour(latency_s=0.5, tokens_per_minute=TPM, keep_arrivals=20_000)
    with simulator_process(slow) as strong, simulator_process(counting) as weak:
        run = ClusterRun(cluster, tmp_path, rows=24_000, files=24)
        lanes = {"endpoints.weak.base_url": weak.url, "endpoints.strong.requests_per_minute": RPM}
        lanes |= {"endpoints.weak.tokens_per_minute": TPM, "endpoints.weak.params": {"max_tokens": 150}}
        run.write(strong, {**lanes, "engine.workers": 4, "engine.lease_s": 1.0, "limits.drain_s": 5.0})
        with run.start() as driver:
            wait_for(driver, lambda: strong.stats().requests)
            begun = time.monotonic()
            time.sleep(35)
            killed_at = time.monotonic() - begun
            send(workers()[0], signal.SIGKILL)
            time.sleep(75)
            over_at = time.monotonic() - begun
            send(driver.pid, signal.SIGINT)
            ended(driver, 130)
        asked, bound = strong.stats(), weak.stats()
        first = asked.arrivals_s[0]
        arrivals = [arrival - first for arrival in asked.arrivals_s]
        before = count_between(arrivals, WARM_S, killed_at - 1) / (killed_at - 1 - WARM_S) * 60 / RPM
        after = count_between(arrivals, killed_at + 9, over_at) / (over_at - killed_at - 9) * 60 / RPM
        minute, second = most_within(arrivals, 60.0), most_within(arrivals, 1.0)
        print(f"worst 60 s {minute}, worst 1 s {second}, used {before:.3f} and {after:.3f}")  # noqa: T201
        print(f"tokens: {bound.requests} requests, {bound.by_status}")  # noqa: T201
        assert minute <= RPM + 1
        assert second <= 42 + 1 + 3 * 4
        assert min(before, after) >= 0.97
        assert bound.by_status.get("429", 0) == 0
        assert asked.max_in_flight <= 64
