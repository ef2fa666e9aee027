"""How many CPUs a process may use, from the system's own files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from batchroute.score.cores import usable_cores

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ALLOWED = len(os.sched_getaffinity(0))
ALL_OF_THEM = [
    {},
    {"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/cpu.max": "max 100000"},
    {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "100000000 100000"},
    {"proc/self/cgroup": "0::/../../elsewhere", "elsewhere/cpu.max": "100000 100000"},
    {"proc/self/cgroup": "4:cpuset:/x\n0::/", "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "100000"},
    {
        "proc/self/cgroup": "4:cpu,cpuacct:/x",
        "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "-1",
        "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000",
    },
]
ONE = [
    {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "100000 100000"},
    {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "199999 100000"},
    {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "5000 100000"},
    {"proc/self/cgroup": "0::/a/b/c", "sys/fs/cgroup/a/cpu.max": "100000 100000"},
    {
        "proc/self/cgroup": "5:memory:/y\n4:cpu,cpuacct:/x",
        "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "50000",
        "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "50000",
    },
    {  # in a container the path is that of the host, and the mount is the container's own group
        "proc/self/cgroup": "4:cpu:/docker/x",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
    },
]


@pytest.mark.parametrize(
    ("files", "expected"), [*((files, ALLOWED) for files in ALL_OF_THEM), *((files, 1) for files in ONE)]
)
def test_quotas(tmp_path: Path, files: Mapping[str, str], expected: int) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    assert usable_cores(tmp_path) == expected


def test_affinity() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
