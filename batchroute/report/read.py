"""A run directory as a report reads it: the resolved job, the settled rows, the scores, all without loading them.

Knows file names and columns; knows nothing of sums, prices or tables on a screen. Reads only. A row counts
as a run counts it: done if it stands in a sealed part or on a whole journal record.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import polars as pl

from batchroute.errors import RunFault
from batchroute.job.spec import Price
from batchroute.store.layout import RunLayout
from batchroute.store.unsealed import read_unsealed
from batchroute.types import SIDES, Side

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from batchroute.types import Result

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
class RunEndpoint:
    """One side of the finished job, as far as its bill goes; `price` is the job's own, if any."""

    model: str
    base_url: str | None = None
    price: Price | None = None
    simulated: bool = False
    max_input_tokens: int | None = None
    on_too_long: str = "refuse"


@dataclass(frozen=True, slots=True)
class RunJob:
    """What job.toml says of a run; `rows` is None until the whole input is scored."""

    name: str
    endpoints: Mapping[Side, RunEndpoint]
    threshold: float | None = None
    rows: int | None = None
    files: tuple[str, ...] = ()
    # Only an embedder behind an API sends a bill.
    embedding_is_billed: bool = False


def read_job(run: Path) -> RunJob:
    """The resolved job of the directory `run`; a RunFault where there is none."""
    path = RunLayout(run).job
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


def _endpoint(table: dict[str, Any]) -> RunEndpoint:
    price = table.get("price")
    return RunEndpoint(
        model=table["model"],
        base_url=table.get("base_url"),
        price=None if price is None else Price.model_validate(price),
        simulated=table.get("simulate") is not None,
        max_input_tokens=table.get("max_input_tokens"),
        on_too_long=table.get("on_too_long", "refuse"),
    )


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a run, in no order.

    `settled` has every row that is done or has failed, once; `unsealed` of them stand in a journal only. `open`
    rows were begun, and a stop left them with neither an answer nor an error to show for it.
    """

    settled: pl.LazyFrame
    open: pl.DataFrame
    unsealed: int


def scan_rows(run: Path) -> Rows:
    """Of the results only as much is read as is asked of them later."""
    beside = read_unsealed(run)
    loose, opened = _frame([*beside.settled, *beside.failed]), _frame(beside.open)
    if not beside.parts:
        return Rows(loose.lazy(), opened, len(beside.settled))
    results = pl.scan_parquet(list(beside.parts)).select(SETTLED_SCHEMA.keys())
    if loose.is_empty() and opened.is_empty():
        return Rows(results, opened, 0)
    place = ["file", "row"]
    # What is listed as failed or open may have been answered since.
    named = pl.concat([loose, opened]).select(place)
    overtaken = results.select(place).join(named.lazy(), on=place, how="semi").collect()
    loose, opened = (frame.join(overtaken, on=place, how="anti") for frame in (loose, opened))
    return Rows(pl.concat([results, loose.lazy()]), opened, len(beside.settled))


def scan_settled(run: Path) -> pl.LazyFrame:
    """Every settled row once, in no order."""
    return scan_rows(run).settled


def _frame(results: Sequence[Result]) -> pl.DataFrame:
    """The rows that no part has; there are few, or they would have been sealed."""
    columns = {name: list(map(attrgetter(name), results)) for name in SETTLED_SCHEMA}
    return pl.DataFrame(columns, schema=SETTLED_SCHEMA)


def scan_scores(run: Path, settled: pl.LazyFrame) -> pl.LazyFrame:
    """The scores of all rows scored so far, one column without nulls; from `settled` where none are stored."""
    parts = RunLayout(run).score_parts()
    scores = pl.scan_parquet(parts) if parts else settled
    return scores.select("score").drop_nulls()
