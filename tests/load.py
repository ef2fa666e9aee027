"""What `batchroute serve` adds to each request, measured against its endpoint called directly.

    python tests/load.py [--requests 4000] [--concurrency 16] [--latency-s 0.02]

Three processes on loopback: a simulated provider, the server with the built-in router, and this one, which asks
each way in turn. Added latency is the difference of the percentiles; requests per CPU-second count the CPU time of
the server's process alone, at a provider without latency. The prompts are those of jobs/demo.jsonl.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import numpy as np
import uvloop

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-c", "from batchroute.cli import main; main()"]
JOB = """
[input]
path = "prompts.jsonl"
[output]
path = "run"
[routing]
threshold = 0.6
[endpoints.strong]
model = "gpt-5"
base_url = "{url}"
max_concurrency = 1024
[endpoints.weak]
model = "o4-mini"
base_url = "{url}"
max_concurrency = 1024
"""
ROUNDS = 6


@dataclass(frozen=True)
class Load:
    """One way's requests: how long each took, and all together."""

    took_s: list[float]
    wall_s: float

    def ms(self, percentile: float) -> float:
        return 1e3 * float(np.percentile(self.took_s, percentile))


@contextmanager
def command(*arguments: str) -> Iterator[tuple[int, int]]:
    """(pid, port) of one of our servers, which says its port in its first line."""
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.pid, json.loads(process.stdout.readline())["port"]
        finally:
            process.terminate()
            process.wait(30)


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def bodies(model: str) -> list[bytes]:
    prompts = [json.loads(line)["prompt"] for line in (ROOT / "jobs" / "demo.jsonl").read_text().splitlines()]
    return [
        json.dumps({"model": model, "messages": [{"role": "user", "content": text}]}).encode() for text in prompts
    ]


async def load(url: str, asked: list[bytes], requests: int, concurrency: int) -> Load:
    """So many requests, always `concurrency` of them under way."""
    took_s: list[float] = []
    numbers = iter(range(requests))

    async def ask(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            started = time.perf_counter()
            async with session.post(f"{url}/chat/completions", data=asked[number % len(asked)]) as response:
                await response.read()
                assert response.status == 200, await response.text()
            took_s.append(time.perf_counter() - started)

    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:
        started = time.perf_counter()
        await asyncio.gather(*(ask(session) for _ in range(concurrency)))
        return Load(took_s, time.perf_counter() - started)


def ways(direct: str, served: str, requests: int, concurrency: int) -> tuple[Load, Load]:
    """Both ways by turns, so that what else the machine does falls on both."""
    loads: dict[str, list[Load]] = {direct: [], served: []}
    for _ in range(ROUNDS):
        for url, model in ((direct, "o4-mini"), (served, "router")):
            loads[url].append(uvloop.run(load(url, bodies(model), requests // ROUNDS, concurrency)))
    return tuple(  # type: ignore[return-value]  # two of them
        Load([s for each in loads[url] for s in each.took_s], sum(each.wall_s for each in loads[url]))
        for url in (direct, served)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="What `batchroute serve` adds to each request.")
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--latency-s", type=float, default=0.02)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, command("simulate", "--response-tokens", "100") as (_, port):
        direct = f"http://127.0.0.1:{port}/v1"
        job = Path(folder) / "job.toml"
        job.write_text(JOB.format(url=direct))
        with command("serve", str(job), "--port", "0", "--quiet") as (pid, served_port):
            served = f"http://127.0.0.1:{served_port}/v1"
            uvloop.run(load(served, bodies("router"), 400, flags.concurrency))  # warm
            before = cpu_s(pid)
            full = uvloop.run(load(served, bodies("router"), flags.requests, flags.concurrency))
            per_cpu_s = flags.requests / (cpu_s(pid) - before)
            uvloop.run(turn(port, flags.latency_s))
            plain, routed = ways(direct, served, flags.requests, flags.concurrency)
    sys.stdout.write("\n".join(words(flags, plain, routed, full, per_cpu_s)) + "\n")


def words(flags: argparse.Namespace, plain: Load, routed: Load, full: Load, per_cpu_s: float) -> Iterator[str]:
    latency_ms = flags.latency_s * 1e3
    yield f"{flags.requests} requests, {flags.concurrency} at a time, a provider that takes {latency_ms:g} ms"
    for name, each in (("directly", plain), ("through serve", routed)):
        rate = flags.requests / each.wall_s
        yield f"{name:14} p50 {each.ms(50):7.2f} ms   p99 {each.ms(99):7.2f} ms   {rate:7.0f} requests/s"
    yield f"{'added':14} p50 {routed.ms(50) - plain.ms(50):7.2f} ms   p99 {routed.ms(99) - plain.ms(99):7.2f} ms"
    rate = flags.requests / full.wall_s
    yield f"a provider that takes no time: {rate:.0f} requests/s, {per_cpu_s:.0f} per CPU-second of the server"


async def turn(port: int, latency_s: float) -> None:
    async with aiohttp.ClientSession() as session:
        await session.post(f"http://127.0.0.1:{port}/control", json={"latency_s": latency_s})


if __name__ == "__main__":
    main()
