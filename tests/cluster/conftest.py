"""A network without the world, and a Ray cluster in it, for the tests of this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ray_cluster import RayCluster, own_network, ray_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="package")
def network() -> Iterator[None]:
    """What is started after this has a loopback device only."""
    pytest.importorskip("ray", reason="Ray is not installed")
    with own_network():
        yield


@pytest.fixture(scope="package")
def cluster(network: None) -> Iterator[RayCluster]:
    """Eight CPUs, whatever the machine has: senders need little of one."""
    with ray_cluster() as cluster:
        yield cluster
