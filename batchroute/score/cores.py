"""How many CPUs this process may use: fewer than the machine has where a scheduler or a container says so."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def usable_cores(root: Path = Path("/")) -> int:
    """At least 1: the CPUs of its affinity (taskset, Slurm), or the quota of its control groups (containers).

    `root` is where the system's files lie. A quota of 2.5 CPUs is 2: the half is for everything else.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([allowed, *_quotas(root)])))


def _quotas(root: Path) -> Iterator[float]:
    """In CPUs, of the control groups that this process is in, and of all those around them."""
    for mount, group in _groups(root):
        for folder in (group, *group.parents):
            if folder.is_relative_to(mount) and (quota := _quota(folder)) is not None:
                yield quota


def _groups(root: Path) -> Iterator[tuple[Path, Path]]:
    """Where control groups of CPU time are mounted, and this process's one there.

    Lines of /proc/self/cgroup: `0::/system.slice/x` (version 2), `4:cpu,cpuacct:/docker/x` (version 1).
    """
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" or "cpu" in controllers.split(","):
            mount = root / "sys/fs/cgroup" / ("" if number == "0" else "cpu")
            yield mount, mount / path.lstrip("/")


def _quota(group: Path) -> float | None:
    """`cpu.max` holds microseconds of CPU and of time ("150000 100000"), version 1 has a file for each."""
    both = _text(group / "cpu.max")
    if both is None:
        both = f"{_text(group / 'cpu.cfs_quota_us')} {_text(group / 'cpu.cfs_period_us')}"
    quota, _, period = both.partition(" ")
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
