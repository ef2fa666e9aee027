"""A run directory as a report reads it: the resolved job, the settled rows, the scores, all without loading them.

Knows file names and columns; knows nothing of sums, prices or tables on a screen. Reads only, and never the
journal: what is not sealed yet counts as not settled.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import polars as pl

from batchroute.errors import RunFault
from batchroute.job import Price
from batchroute.store import read_failed
from batchroute.types import SIDES, Side

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# The columns a report reads; answers, prompts and kept columns stay on disk.
SETTLED_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "file": pl.String,
    "row": pl.Int64,
    "id": pl.String,
    "score": pl.Float64,
    "route": pl.String,
    "route_reason": pl.String,
    "model": pl.String,
    "status": pl.String,
    "prompt_tokens": pl.Int64,
    "cached_tokens": pl.Int64,
    "completion_tokens": pl.Int64,
    "reasoning_tokens": pl.Int64,
    "cost_usd": pl.Float64,
    "attempts": pl.Int32,
    "latency_s": pl.Float64,
    "error_type": pl.String,
    "finished_at": pl.Datetime("us", "UTC"),
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One side of the finished job, as far as its bill goes; `price` is the job's own, if any."""

    model: str
    host: str | None = None
    price: Price | None = None
    simulated: bool = False
    max_input_tokens: int | None = None
    on_too_long: str = "refuse"


@dataclass(frozen=True, slots=True)
class RunJob:
    """What job.toml says of a run; `rows` is None until the whole input is scored."""

    name: str
    endpoints: Mapping[Side, Endpoint]
    threshold: float | None = None
    rows: int | None = None
    files: tuple[str, ...] = ()
    # Only an embedder behind an API sends a bill.
    embedding_is_billed: bool = False


def read_job(run: Path) -> RunJob:
    """The resolved job of the directory `run`; a RunFault where there is none."""
    path = run / "job.toml"
    try:
        with path.open("rb") as stream:
            tables = tomllib.load(stream, parse_float=Decimal)
        return _job(tables, run)
    except (FileNotFoundError, NotADirectoryError) as missing:
        raise RunFault(f"{run}: not a run directory (it has no job.toml)") from missing
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as broken:
        raise RunFault(f"{path}: not a job that batchroute wrote ({broken!r})") from broken


def _job(tables: dict[str, Any], run: Path) -> RunJob:
    own = tables["batchroute"]
    embedder = tables.get("router", {}).get("embedder", {})
    threshold = own.get("threshold")
    return RunJob(
        name=tables.get("name", run.name),
        endpoints={side: _endpoint(tables["endpoints"][side]) for side in SIDES},
        threshold=None if threshold is None else float(threshold),
        rows=own.get("rows"),
        files=tuple(entry["name"] for entry in own.get("files", ())),
        embedding_is_billed=embedder.get("use") == "openai",
    )


def _endpoint(table: dict[str, Any]) -> Endpoint:
    price = table.get("price")
    return Endpoint(
        model=table["model"],
        host=urlsplit(table.get("base_url") or "").hostname,
        price=None if price is None else Price.model_validate(price),
        simulated=table.get("simulate") is not None,
        max_input_tokens=table.get("max_input_tokens"),
        on_too_long=table.get("on_too_long", "refuse"),
    )


def result_parts(run: Path) -> list[Path]:
    return sorted((run / "results").glob("part-*.parquet"))


def scan_settled(run: Path) -> pl.LazyFrame:
    """Every settled row once, in no order: the sealed results, and the failures they have not overtaken."""
    parts = result_parts(run)
    if not parts:
        return _failures(run).lazy()
    results = pl.scan_parquet(parts).select(SETTLED_SCHEMA.keys())
    failures = _failures(run)
    if failures.is_empty():
        return results
    place = ["file", "row"]
    # An interrupted retry leaves rows that are listed as failed and answered since.
    overtaken = results.select(place).join(failures.lazy().select(place), on=place, how="semi").collect()
    return pl.concat([results, failures.join(overtaken, on=place, how="anti").lazy()])


def _failures(run: Path) -> pl.DataFrame:
    """The rows of failed.jsonl; there are few, or the run would have stopped."""
    failed = read_failed(run / "failed.jsonl")
    columns = {name: list(map(attrgetter(name), failed)) for name in SETTLED_SCHEMA}
    return pl.DataFrame(columns, schema=SETTLED_SCHEMA)


def scan_scores(run: Path, settled: pl.LazyFrame) -> pl.LazyFrame:
    """The scores of all rows scored so far, one column without nulls; from `settled` where none are stored."""
    parts = sorted((run / "scores").glob("part-*.parquet"))
    scores = pl.scan_parquet(parts) if parts else settled
    return scores.select("score").drop_nulls()
