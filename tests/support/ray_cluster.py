"""A Ray cluster of this machine alone: Ray opens ports on all addresses of its host, which here has none.

Inside `own_network` this process, and all that it starts, has a loopback device and nothing else. Whatever was
started there ends with it, however the test ended.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_NEWNET = 0x40000000  # <sched.h>
SIOCSIFFLAGS, IFF_UP = 0x8914, 1  # <linux/sockios.h>, <linux/if.h>
NETWORK = Path("/proc/thread-self/ns/net")
PORT = 6379
KEY_NAME, KEY = "CLUSTER_KEY", "sk-canary-7d1f0c93b5e2"  # a key that all machines have
END_S = 20.0


@contextmanager
def own_network() -> Iterator[None]:
    """A network for this thread and what it starts; the test is skipped where none is to be had."""
    system = ctypes.CDLL(None, use_errno=True)
    with NETWORK.open() as before:
        if system.unshare(CLONE_NEWNET):
            pytest.skip(f"may not make a network of its own: {os.strerror(ctypes.get_errno())}")
        try:
            with socket.socket() as any_socket:
                fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
            yield
        finally:
            _end_all()
            assert system.setns(before.fileno(), CLONE_NEWNET) == 0


def _end_all() -> None:
    """Ends every process of this network but our own."""
    until = time.monotonic() + END_S
    while found := [pid for pid in processes() if pid != os.getpid()]:
        assert time.monotonic() < until, f"processes that do not end: {found}"
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def processes() -> list[int]:
    """All of this network."""
    network, numbers = NETWORK.readlink(), (entry.name for entry in Path("/proc").iterdir())
    return [int(number) for number in numbers if number.isdigit() and _network_of(int(number)) == network]


def _network_of(pid: int) -> Path | None:
    try:
        return Path(f"/proc/{pid}/ns/net").readlink()
    except OSError:  # it is gone, or waits for its parent to ask
        return None


@dataclass(frozen=True, slots=True)
class RayCluster:
    """A cluster that runs: its address, and the folder with all that Ray writes."""

    address: str
    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        """Of whatever joins it."""
        return {**os.environ, **_settings(self.folder)}


def _settings(folder: Path) -> dict[str, str]:
    return {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": str(folder), "HOME": str(folder)}


@contextmanager
def ray_cluster(cpus: int = 8) -> Iterator[RayCluster]:
    """One machine with so many CPUs and a GPU, as Ray counts, whatever it has; inside `own_network`."""
    ray = Path(sys.executable).with_name("ray")
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # its sockets' paths may not be long
    command = [ray, "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={PORT}"]
    command += [f"--num-cpus={cpus}", "--num-gpus=1", "--object-store-memory=80000000", f"--temp-dir={folder}"]
    command += ["--include-dashboard=false", "--disable-usage-stats"]
    # Should this process be killed, Ray's goes as well, and takes the cluster with it.
    tied = ["setpriv", "--pdeathsig", "TERM", *map(str, command)]
    settings = {**os.environ, **_settings(folder), KEY_NAME: KEY}
    try:
        with subprocess.Popen(
            tied, env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as head:
            try:
                _await_start(head)
                yield RayCluster(f"127.0.0.1:{PORT}", folder)
            finally:
                head.kill()
                _end_all()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _await_start(head: subprocess.Popen[str]) -> None:
    assert head.stdout is not None
    said = []
    for line in head.stdout:
        said.append(line)
        if "Ray runtime started" in line:
            return
    raise AssertionError("".join(said))
