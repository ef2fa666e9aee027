"""Results of rows, as the engine records them, and what a store or a part makes of them."""

from __future__ import annotations

import os
from contextlib import contextmanager
from resource import RLIMIT_FSIZE, getrlimit, setrlimit
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from batchroute.input.keep import pack
from batchroute.types import Result

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_COLUMNS = pa.schema([])
UNPRIVILEGED_UID = 65534
FINISHED_AT_US = 1_795_000_000_123_456


def result(row: int, status: str = "ok", side: str | None = "weak", **columns: Any) -> Result:
    """A plain row; `columns` change it."""
    plain: dict[str, Any] = {
        "file": "prompts.jsonl",
        "row": row,
        "id": f"id-{row}",
        "score": 0.25,
        "route": side,
        "route_reason": "score" if side else None,
        "model": "small-model" if side else None,
        "status": status,
        "attempts": 1,
        "finished_at": FINISHED_AT_US + row,
    }
    answer = {"response": f"answer {row}", "prompt_tokens": 10, "completion_tokens": 5, "cost_usd": 1e-5}
    error = {"error_type": "http_500", "error": "HTTP 500: later"}
    return Result(**{**plain, **(answer if status == "ok" else error), **columns})


def kept_row(schema: pa.Schema, **values: Any) -> bytes:
    """One row of kept columns, as `Prompt.keep` carries it."""
    return pack(pa.RecordBatch.from_pylist([values], schema=schema))[0]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file of this process can grow beyond `size` bytes: writes stop there as on a full disk."""
    soft, hard = getrlimit(RLIMIT_FSIZE)
    setrlimit(RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        setrlimit(RLIMIT_FSIZE, (soft, hard))


@contextmanager
def unprivileged() -> Iterator[None]:
    """Permissions hold for this process, which they do not where tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(UNPRIVILEGED_UID)
    try:
        yield
    finally:
        os.seteuid(0)
