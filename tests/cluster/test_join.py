"""Joining a real cluster, and being refused by what is none."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ray_cluster import RayCluster

pytestmark = pytest.mark.ray

JOIN = """
import os, signal, sys, time
from batchroute.run.workers.cluster import joined

def hold():
    os.kill(os.getpid(), signal.SIGKILL)

with joined(sys.argv[1]) as ray:
    lost = ray.remote(max_retries=0)(hold)
    try:
        ray.get(lost.remote())
    except ray.exceptions.WorkerCrashedError:
        time.sleep(1)  # Ray would say it a little later
        print("lost it")
"""


def join(cluster: RayCluster, address: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", JOIN, address]
    settings = {**cluster.environ, **environ}
    return subprocess.run(command, env=settings, capture_output=True, text=True, check=False, timeout=60)


def test_ray_prints_nothing_of_its_own_to_stdout(cluster: RayCluster) -> None:
    joined = join(cluster, cluster.address)
    assert joined.stdout == "lost it\n", joined.stderr


def test_auto_is_the_one_of_the_environment(cluster: RayCluster) -> None:
    assert join(cluster, "auto", RAY_ADDRESS=cluster.address).stdout == "lost it\n"
    refused = join(cluster, "auto", RAY_ADDRESS="127.0.0.1:1")
    assert "no Ray cluster to join at 127.0.0.1:1" in refused.stderr


def test_auto_is_else_the_one_of_this_machine(cluster: RayCluster) -> None:
    assert join(cluster, "auto").stdout == "lost it\n"
