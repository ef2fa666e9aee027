"""The benchmark: whole runs beside a plain aiohttp loop and the peers that are installed, then each stage alone.

    python tests/benchmark [--quick] [--out benchmark.json] [--peer litellm=/path/to/python]

Machines are noisy, so all clients take turns against the same server, round by round, and what counts is the ratio
of their medians: rows per CPU second, the plain loop being 1. The CPU of `batchroute run` is the whole process's:
reading, journal, parts, report; what a run of few rows takes is subtracted, as the peers' imports are not counted
either. `scored` runs start from the scores that `plan` stored, `scoring` ones score on the way.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from processes import on_first_cpu, provider
from stages import measure_stages
from startup import measure_startup
from workload import FEW_ROWS, Folder, bare_imports_mb, run_cost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from startup import Start

PEERS = {"openai": "openai", "litellm": "litellm", "curator": "bespokelabs"}  # client -> the package it needs
PEER_ROWS = 2_000  # they take about a millisecond and more a row
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Figure:
    """One client at one concurrency, medians over the rounds; `ratio`: rows per CPU second, plain aiohttp = 1."""

    client: str
    concurrency: int
    cpu_us_per_row: float
    ratio: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Once:
    cpu_us_per_row: float
    peak_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", default="64,512,2000")
    parser.add_argument("--quick", action="store_true", help="One round of few rows: does it work at all?")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON", help="A peer's interpreter.")
    parser.add_argument("--out", type=Path, default=Path("benchmark.json"))
    given = parser.parse_args()
    rows, rounds = (4_000, 1) if given.quick else (given.rows, given.rounds)
    pythons = peer_pythons(given.peer)
    with tempfile.TemporaryDirectory(prefix="batchroute-benchmark-") as name:
        folder = Folder(Path(name), rows)
        figures = [
            figure
            for concurrency in map(int, given.concurrency.split(","))
            for figure in compare(folder, rows, concurrency, rounds, pythons)
        ]
        stages = measure_stages(folder)
        startup = measure_startup(folder, 1 if given.quick else rounds)
    table(figures, stages, startup)
    found = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}",
        "bare_imports_mb": bare_imports_mb(),
        "clients": [asdict(figure) for figure in figures],
        "stages_rows_per_s": stages,
        "startup": [asdict(start) for start in startup],
    }
    given.out.write_text(json.dumps(found, indent=2) + "\n")
    print(f"bare imports {found['bare_imports_mb']:.0f} MB; all of it is in {given.out}")


def peer_pythons(given: list[str]) -> dict[str, str]:
    """The interpreter of each peer that is there: those named, and ours where it has the package."""
    here = {peer: sys.executable for peer, package in PEERS.items() if find_spec(package)}
    return here | dict(pair.split("=", 1) for pair in given)


def compare(folder: Folder, rows: int, concurrency: int, rounds: int, pythons: dict[str, str]) -> Iterator[Figure]:
    """All clients in turn against one server."""
    taken: dict[str, list[Once]] = {}
    with provider() as asked:
        url = asked.url
        for _ in range(rounds):
            for client, once in each_once(folder, url, rows, concurrency, pythons):
                taken.setdefault(client, []).append(once)
    plain = median(once.cpu_us_per_row for once in taken["aiohttp"])
    for client, onces in taken.items():
        cpu_us = median(once.cpu_us_per_row for once in onces)
        yield Figure(client, concurrency, cpu_us, plain / cpu_us, median(once.peak_mb for once in onces))


def each_once(
    folder: Folder, url: str, rows: int, concurrency: int, pythons: dict[str, str]
) -> Iterator[tuple[str, Once]]:
    yield "aiohttp", peer("aiohttp", sys.executable, url, rows, concurrency)
    for kind in ("scored", "scoring"):
        few = run_cost(folder, kind, url, FEW_ROWS, concurrency)
        all_of_it = run_cost(folder, kind, url, rows, concurrency)
        cpu_us = 1e6 * (all_of_it.cpu_s - few.cpu_s) / (rows - FEW_ROWS)
        yield f"batchroute, {kind}", Once(cpu_us, all_of_it.peak_mb)
    for name, python in pythons.items():
        yield name, peer(name, python, url, min(rows, PEER_ROWS), concurrency)


def peer(name: str, python: str, url: str, rows: int, concurrency: int) -> Once:
    command = [python, str(HERE / "peers.py"), name, "--url", url]
    command += ["--rows", str(rows), "--concurrency", str(concurrency)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, preexec_fn=on_first_cpu)
    figures: dict[str, float] = json.loads(said.stdout.splitlines()[-1])
    return Once(1e6 * figures["cpu_s"] / rows, figures["peak_mb"])


def table(figures: list[Figure], stages: dict[str, float], startup: list[Start]) -> None:
    print(f"{'client':<22}{'in flight':>10}{'CPU us/row':>12}{'ratio':>8}{'peak MB':>9}")
    for figure in figures:
        print(
            f"{figure.client:<22}{figure.concurrency:>10,}{figure.cpu_us_per_row:>12,.0f}{figure.ratio:>8.2f}"
            f"{figure.peak_mb:>9,.0f}"
        )
    print(f"\n{'stage':<32}{'rows/s':>12}")
    for stage, rows_per_s in stages.items():
        print(f"{stage:<32}{rows_per_s:>12,.0f}")
    print(f"\n{'start-up':<32}{'CPU s':>12}{'wall s':>8}{'peak MB':>9}  torch")
    for start in startup:
        cells = f"{start.cpu_s:>12.2f}{start.wall_s:>8.2f}{start.peak_mb:>9,.0f}"
        print(f"{start.name:<32}{cells}  {'imported' if start.has_torch else 'no'}")


if __name__ == "__main__":
    main()
