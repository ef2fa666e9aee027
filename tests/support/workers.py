"""Runs by workers: as tasks of one event loop, or as real ones, whose processes can be looked at."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from batchroute.run.workers.driven import Where
from batchroute.run.workers.worker import work

if TYPE_CHECKING:
    from batchroute.run.workers.driver import Driver
    from batchroute.run.workers.messages import Stage


class TaskWorkers:
    """See `Workers`: all in the driver's event loop, by the same bytes."""

    def __init__(self, driver: Driver, stage: Stage, order: bytes) -> None:
        self._driver = driver
        self._order = order
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def serve(self, name: str) -> None:
        async def exchange(renewal: bytes) -> bytes:
            await asyncio.sleep(0)
            return self._driver.exchange(name, renewal)

        self._driver.begun(name)
        self._tasks[name] = task = asyncio.create_task(work(self._order, exchange, asyncio.Event()))
        await task

    def kill(self, name: str) -> None:
        self._tasks[name].cancel()


def in_one_process(most: int) -> Where:
    return Where(TaskWorkers, most, local=True)


def write_rows(folder: Path, rows: int) -> Path:
    path = folder / "prompts.jsonl"
    path.write_text(
        "".join(json.dumps({"prompt": f"row {row} " + "x" * (row % 90)}) + "\n" for row in range(rows))
    )
    return path


def worker_pids(driver: int) -> list[int]:
    """The processes of a driver's workers."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if parent == driver and b"batchroute.run.workers.child" in words:
            found.append(int(entry.name))
    return sorted(found)


def answered(run: Path) -> dict[tuple[str, int], str]:
    """Each row with how it ended; a row that stands there twice is an error."""
    found: dict[tuple[str, int], str] = {}
    for part in sorted((run / "results").glob("part-*.parquet")):
        for row in pq.read_table(part, columns=["file", "row", "status"]).to_pylist():
            place = (Path(row["file"]).name, row["row"])
            assert place not in found, f"{place} stands twice in results"
            found[place] = row["status"]
    return found


def report_of(run: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((run / "report.json").read_text())
    return report
