"""What `batchroute serve` adds to each request, measured against its endpoint called directly.

    python tests/benchmark/serve_load.py [--requests 1800] [--concurrency 16] [--latency-s 0.3] [--rounds 6]
        [--at-once]

Three processes on loopback: a simulated provider, the server with the built-in router, and this one, which asks
each way in turn, round by round, so that what else the machine does falls on both. Added latency is the difference
of a round's percentiles, the median over all rounds; requests per CPU-second count the CPU time of the server's
process alone, at a provider without latency, again the median. The prompts are those of jobs/demo.jsonl.

The clients begin one after another, spread over the time an answer takes, and so stay apart; `--at-once` lets all
of them ask in the same instant again and again, which measures how long the last of them waits for the others.
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
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import aiohttp
import numpy as np
import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from batchroute.cli import main; main()"]
JOB = """
[input]
path = "prompts.jsonl"
[output]
path = "run"
[routing]
threshold = 0.6
[endpoints.strong]
model = "gpt-6.1-sol"
base_url = "{url}"
max_concurrency = 1024
[endpoints.weak]
model = "gpt-6-luna"
base_url = "{url}"
max_concurrency = 1024
"""


@dataclass(frozen=True)
class Load:
    """One way's requests in one round: how long each took, and all together."""

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


async def load(url: str, asked: list[bytes], requests: int, concurrency: int, spread_s: float = 0.0) -> Load:
    """So many requests, always `concurrency` of them under way, the first of which begin over `spread_s`."""
    took_s: list[float] = []
    numbers = iter(range(requests))

    async def one_by_one(session: aiohttp.ClientSession, client: int) -> None:
        await asyncio.sleep(spread_s * client / concurrency)
        for number in numbers:
            started = time.perf_counter()
            async with session.post(f"{url}/chat/completions", data=asked[number % len(asked)]) as response:
                await response.read()
                assert response.status == 200, await response.text()
            took_s.append(time.perf_counter() - started)

    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:
        started = time.perf_counter()
        await asyncio.gather(*(one_by_one(session, client) for client in range(concurrency)))
        return Load(took_s, time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description="What `batchroute serve` adds to each request.")
    parser.add_argument("--requests", type=int, default=1800)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--latency-s", type=float, default=0.3)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--at-once", action="store_true")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, command("simulate", "--response-tokens", "100") as (_, port):
        direct = f"http://127.0.0.1:{port}/v1"
        job = Path(folder) / "job.toml"
        job.write_text(JOB.format(url=direct))
        with command("serve", str(job), "--port", "0", "--quiet") as (pid, served_port):
            served = f"http://127.0.0.1:{served_port}/v1"
            ask_directly = partial(ask, direct, "gpt-6-luna", flags)
            ask_served = partial(ask, served, "router", flags)
            ask_served()  # warm
            full = [at_full_speed(ask_served, pid, flags.requests // flags.rounds) for _ in range(flags.rounds)]
            uvloop.run(turn(port, flags.latency_s))
            spread_s = 0.0 if flags.at_once else flags.latency_s
            pairs = [(ask_directly(spread_s), ask_served(spread_s)) for _ in range(flags.rounds)]
    sys.stdout.write("\n".join(words(flags, pairs, full)) + "\n")


def ask(url: str, model: str, flags: argparse.Namespace, spread_s: float = 0.0) -> Load:
    return uvloop.run(load(url, bodies(model), flags.requests // flags.rounds, flags.concurrency, spread_s))


def at_full_speed(ask_served: Callable[[], Load], pid: int, requests: int) -> tuple[float, float]:
    """Requests per second, and per CPU-second of the server."""
    before = cpu_s(pid)
    wall_s = ask_served().wall_s
    return requests / wall_s, requests / (cpu_s(pid) - before)


def words(
    flags: argparse.Namespace, pairs: list[tuple[Load, Load]], full: list[tuple[float, float]]
) -> Iterator[str]:
    latency_ms, requests = flags.latency_s * 1e3, flags.requests // flags.rounds
    yield f"{requests} requests, {flags.concurrency} at a time, a provider that takes {latency_ms:g} ms;"
    yield f"medians of {flags.rounds} rounds, load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    for name, loads in zip(("directly", "through serve"), zip(*pairs, strict=True), strict=True):
        p50, p99 = (median(each.ms(percentile) for each in loads) for percentile in (50, 99))
        rate = median(requests / each.wall_s for each in loads)
        yield f"{name:14} p50 {p50:7.2f} ms   p99 {p99:7.2f} ms   {rate:7.0f} requests/s"
    p50, p99 = (median(routed.ms(p) - plain.ms(p) for plain, routed in pairs) for p in (50, 99))
    yield f"{'added':14} p50 {p50:7.2f} ms   p99 {p99:7.2f} ms"
    rate, per_cpu_s = (median(column) for column in zip(*full, strict=True))
    yield f"a provider that takes no time: {rate:.0f} requests/s, {per_cpu_s:.0f} per CPU-second of the server"


async def turn(port: int, latency_s: float) -> None:
    async with aiohttp.ClientSession() as session:
        await session.post(f"http://127.0.0.1:{port}/control", json={"latency_s": latency_s})


if __name__ == "__main__":
    main()
