"""Processes that begin at the same moment all say in report.json that figures are on their way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

from batchroute.report.figures import read_report
from batchroute.run.shards.finish import begin_report
from jobs import job_of
from shardings import sharded, write_input

if TYPE_CHECKING:
    from pathlib import Path

PROCESSES = 6


def test_none_of_many_is_kept_from_beginning_by_the_others(tmp_path: Path) -> None:
    """Threads that have the directory open like processes: what locks they take are their own."""
    write_input(tmp_path)
    job = job_of(tmp_path / "prompts.jsonl", tmp_path / "run")
    with sharded(tmp_path) as directory, ThreadPoolExecutor(PROCESSES) as pool:
        together = Barrier(PROCESSES)

        def begin(_: int) -> None:
            together.wait()
            for _ in range(10):
                begin_report(job, directory, [], None)

        list(pool.map(begin, range(PROCESSES)))
        report = read_report(directory.layout.path)
    assert report is not None
    assert report.state == "running"
