"""The processes of the benchmark: the provider on one CPU, everything that is measured on another."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER = Path(__file__).with_name("server.py")


@dataclass(frozen=True, slots=True)
class Provider:
    """The provider that answers at `url`; it says when its first request came."""

    url: str
    process: subprocess.Popen[str]

    def first_request_at(self) -> float:
        """Unix time; waits for it."""
        return self._said()["first_request_at"]

    def _said(self) -> dict[str, float]:
        assert self.process.stdout is not None
        said: dict[str, float] = json.loads(self.process.stdout.readline())
        return said


@contextlib.contextmanager
def provider() -> Iterator[Provider]:
    """In a process on the last CPU, until the end of the block."""
    process = subprocess.Popen(
        [sys.executable, str(SERVER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=_on_last_cpu,  # noqa: PLW1509 - one thread
    )
    assert process.stdout is not None
    port = json.loads(process.stdout.readline())["port"]
    try:
        yield Provider(f"http://127.0.0.1:{port}/v1", process)
    finally:
        process.communicate()


def on_first_cpu() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def _on_last_cpu() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
