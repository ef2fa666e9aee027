"""Each stage of a run alone, in rows per second of one CPU; the best of a few passes, since noise only adds."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batchroute.classify import Answer, classify
from batchroute.dispatch import Lane, LaneLimits
from batchroute.engine import load_scorer, open_input
from batchroute.job import InputSpec, RouterSpec
from batchroute.journal import Journal
from batchroute.parts import seal
from batchroute.types import Result
from server import completion

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from workload import Folder

PASSES = 3
VECTOR_DIM = 1536


def measure_stages(folder: Folder) -> dict[str, float]:
    """Rows per second of reading, scoring, dispatch, journal and sealing."""
    rows = min(folder.rows, 20_000)
    lines = folder.data(rows)
    columns = folder.path / "prompts.parquet"
    pq.write_table(pa.Table.from_pylist([msgspec.json.decode(line) for line in lines.read_bytes().splitlines()]), columns)
    journal = folder.path / "journal"
    return {
        "read JSONL": speed(rows, partial(read, lines)),
        "read Parquet": speed(rows, partial(read, columns)),
        "score, built-in": speed(rows, partial(score, lines)),
        "score, vectors of 1,536": speed(100_000, folded(100_000)),
        "classify answers": speed(rows, partial(classified, rows)),
        "dispatch, no network": speed(rows, partial(dispatched, rows)),
        "journal": speed(rows, partial(journalled, journal, rows)),
        "seal": speed(rows, partial(sealed, journal, folder.path / "part.parquet")),
    }


def speed(rows: int, work: Callable[[], Any]) -> float:
    best_s = float("inf")
    for _ in range(PASSES):
        started = time.perf_counter()
        work()
        best_s = min(best_s, time.perf_counter() - started)
    return rows / best_s
