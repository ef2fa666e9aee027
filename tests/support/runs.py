"""Run directories for tests of what reads them, written with pyarrow, as SPEC lays them out; journals are ours."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from batchroute.store.journal import Journal
from batchroute.types import Result

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FINISHED_AT = datetime(2026, 11, 23, 4, 5, 6, 789000, tzinfo=UTC)

RESULT_SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("row", pa.int64()),
        ("id", pa.string()),
        ("score", pa.float64()),
        ("route", pa.string()),
        ("route_reason", pa.string()),
        ("model", pa.string()),
        ("served_model", pa.string()),
        ("status", pa.string()),
        ("response", pa.string()),
        ("reasoning", pa.string()),
        ("refusal", pa.string()),
        ("tool_calls", pa.string()),
        ("finish_reason", pa.string()),
        ("prompt_tokens", pa.int64()),
        ("cached_tokens", pa.int64()),
        ("cache_write_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("reasoning_tokens", pa.int64()),
        ("cost_usd", pa.float64()),
        ("attempts", pa.int32()),
        ("latency_s", pa.float64()),
        ("error_type", pa.string()),
        ("error", pa.string()),
        ("finished_at", pa.timestamp("us", tz="UTC")),
        ("request_id", pa.string()),
        ("service_tier", pa.string()),
        ("delivery", pa.string()),
    ]
)
MODELS = {"strong": "big-model", "weak": "small-model"}
JOB = """
name = {name}

[endpoints.strong]
model = "big-model"
base_url = "https://strong.example/v1"
price = {{ input = 2.0, cached_input = 0.5, output = 10.0 }}

[endpoints.weak]
model = "small-model"
{weak}

[router.embedder]
use = "builtin"

[batchroute]
format = 2
version = "0.1"
fingerprint = "0123"
threshold = 0.5
{rows}
frozen = {frozen}
"""
WEAK_PRICED = 'base_url = "https://weak.example/v1"\nprice = { input = 0.2, output = 1.0 }'
WEAK_SIMULATED = "simulate = { latency_s = 0.3 }\nprice = { input = 0.2, output = 1.0 }"


def ok(row: int, side: str = "strong", **columns: Any) -> dict[str, Any]:
    """A plain answered row; `columns` change it."""
    return {
        "file": "prompts.jsonl",
        "row": row,
        "score": 0.9 if side == "strong" else 0.1,
        "route": side,
        "route_reason": "score",
        "model": MODELS[side],
        "status": "ok",
        "response": f"answer {row}",
        "prompt_tokens": 1000,
        "completion_tokens": 100,
        "cost_usd": 0.003 if side == "strong" else 0.0003,
        "attempts": 1,
        "latency_s": 1.0,
        "finished_at": FINISHED_AT,
        "delivery": "live",
        **columns,
    }


def refused(row: int, side: str | None = "strong", **columns: Any) -> dict[str, Any]:
    """A row that was refused by its endpoint, or before it had a side."""
    nothing = {"response": None, "prompt_tokens": None, "completion_tokens": None, "cost_usd": None}
    asked = {"status": "refused", "error_type": "http_400", "error": "HTTP 400: no"}
    unrouted = {
        "score": None,
        "route": None,
        "route_reason": None,
        "model": None,
        "attempts": 0,
        "latency_s": None,
        "delivery": None,
    }
    return {**ok(row, side or "weak"), **nothing, **asked, **({} if side else unrouted), **columns}


def failed(row: int, side: str = "strong", **columns: Any) -> dict[str, Any]:
    """A line of failed.jsonl."""
    return {
        "file": "prompts.jsonl",
        "row": row,
        "id": None,
        "score": 0.9 if side == "strong" else 0.1,
        "route": side,
        "route_reason": "score",
        "model": MODELS[side],
        "attempts": 6,
        "cost_usd": None,
        "error_type": "http_500",
        "error": "HTTP 500: later",
        **columns,
    }


def write_run(
    run: Path,
    parts: Sequence[Sequence[dict[str, Any]]] = (),
    *,
    failures: Sequence[dict[str, Any]] = (),
    scores: Sequence[tuple[str, int, float | None]] = (),
    rows: int | None = None,
    files: Sequence[str] = ("prompts.jsonl",),
    weak: str = WEAK_PRICED,
    name: str = "nightly",
    extra: Sequence[pa.Field] = (),
) -> Path:
    """A run directory with one sealed part per entry of `parts`; `extra` are columns after SPEC's own."""
    (run / "results").mkdir(parents=True)
    schema = pa.schema([*RESULT_SCHEMA, *extra])
    for number, part in enumerate(parts or [[]]):
        table = pa.Table.from_pylist(sorted(part, key=lambda row: (row["file"], row["row"])), schema=schema)
        pq.write_table(table, run / "results" / f"part-{number:05d}.parquet", compression="zstd")
    if failures:
        (run / "failed.jsonl").write_text("".join(json.dumps(line) + "\n" for line in failures))
    if scores:
        _write_scores(run, scores)
    listed = [{"name": file, "size": 1, "head": "00", "tail": "00"} for file in files]
    frozen = json.dumps(json.dumps({"input.path": listed}))
    rows_line = "" if rows is None else f"rows = {rows}"
    job = JOB.format(name=json.dumps(name), weak=weak, rows=rows_line, frozen=frozen)
    (run / "job.toml").write_text(job)
    return run


def write_journal(run: Path, number: int, rows: Sequence[dict[str, Any]]) -> None:
    """What a run that was killed has not sealed; an entry of `rows` is one of the above, its status kept."""
    journal = Journal(run / f"journal-{number:05d}")
    for row in rows:
        fields = {"id": None, "status": "failed", "finished_at": FINISHED_AT, **row}
        at = int(fields.pop("finished_at").timestamp() * 1e6)
        journal.append(Result(**fields, finished_at=at))
    journal.sync()
    journal.close()


def _write_scores(run: Path, scores: Sequence[tuple[str, int, float | None]]) -> None:
    (run / "scores").mkdir()
    files, numbers, values = zip(*scores, strict=True)
    columns = {
        "file": pa.array(files).dictionary_encode(),
        "row": pa.array(numbers, pa.int64()),
        "score": pa.array(values, pa.float64()),
        "forced": pa.nulls(len(files), pa.dictionary(pa.int8(), pa.string())),
        "chars": pa.array([10] * len(files), pa.int64()),
    }
    pq.write_table(pa.table(columns), run / "scores" / "part-00000.parquet")
