"""A run directory as a report reads it: the resolved job, the settled rows, the scores, all without loading them.

Knows file names and columns; knows nothing of sums, prices or tables on a screen. Reads only. A row counts
as a run counts it: done if it stands in a sealed part or on a whole journal record.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from batchroute.errors import RunFault
from batchroute.job.endpoint import Price, all_addresses
from batchroute.job.tiers import AUTO, asked_tier, tier_of
from batchroute.store.columns import COLUMNS, Use, reserved_names
from batchroute.store.identity import read_identity
from batchroute.store.layout import RunLayout
from batchroute.store.unsealed import read_unsealed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal
    from pathlib import Path

    from batchroute.report.kept_columns import KeptColumn
    from batchroute.types import Result


_FIELDS = [column.field for column in COLUMNS if Use.REPORT in column.use]
_SCHEMA = pl.DataFrame(pa.schema(_FIELDS).empty_table()).schema


@dataclass(frozen=True, slots=True)
class RunEndpoint:
    """One endpoint of the finished job, as far as its bill goes; `price` is the job's own, if any."""

    model: str
    base_url: str | None = None
    price: Price | None = None
    simulated: bool = False
    max_input_tokens: int | None = None
    on_too_long: str = "refuse"
    api: str = "chat"
    asked_tier: str = AUTO


@dataclass(frozen=True, slots=True)
class RunJob:
    """What job.toml says of a run; `rows` is None until the whole input is scored.

    `strong_fraction` is the share that the job asks for, where it asks for one.

    `embedder` is the router's where that is behind an API: only such a one sends a bill.
    """

    name: str
    endpoints: Mapping[str, RunEndpoint]
    threshold: float | None = None
    strong_fraction: float | None = None
    rows: int | None = None
    files: tuple[str, ...] = ()
    builtin_router: bool = False
    embedder: RunEndpoint | None = None
    embedding_is_cached: bool = False
    judge: RunEndpoint | None = None
    ok_if_refused: float = 0.0
    max_cost_usd: Decimal | None = None


def read_job(run: Path) -> RunJob:
    """The resolved job of the directory `run`; a RunFault where there is none."""
    layout = RunLayout(run)
    identity = read_identity(layout)
    try:
        tables = identity.tables()
        limits, router = tables.get("limits", {}), tables.get("router", {})
        share = tables.get("routing", {}).get("strong_fraction")
        embedder = router.get("embedder", {})
        return RunJob(
            name=tables.get("name", run.name),
            endpoints={name: _endpoint(table) for name, table in tables["endpoints"].items()},
            threshold=identity.threshold,
            strong_fraction=None if share is None else float(share),
            rows=identity.wanted_rows,
            files=tuple(file.name for file in identity.files),
            builtin_router=identity.router is None
            and (router.get("use", "mf"), router.get("model", "builtin")) == ("mf", "builtin"),
            embedder=_embedder(embedder) if embedder.get("use") == "openai" else None,
            judge=None if "endpoint" not in tables.get("pilot", {}) else _endpoint(tables["pilot"]["endpoint"]),
            embedding_is_cached=embedder.get("cache") is not None,
            ok_if_refused=float(limits.get("ok_if_refused", 0)),
            max_cost_usd=limits.get("max_cost_usd"),
        )
    except (KeyError, TypeError, AttributeError) as broken:
        raise RunFault(f"{layout.job}: not as a run wrote it ({broken!r})") from broken


def _embedder(table: dict[str, Any]) -> RunEndpoint:
    return RunEndpoint(model=table.get("model") or "", base_url=table.get("base_url"))


def _endpoint(table: dict[str, Any]) -> RunEndpoint:
    price = table.get("price")
    return RunEndpoint(
        model=table["model"],
        base_url=next(iter(all_addresses(table.get("base_url"))), None),
        price=None if price is None else Price.model_validate(price),
        simulated=table.get("simulate") is not None,
        max_input_tokens=table.get("max_input_tokens"),
        on_too_long=table.get("on_too_long", "refuse"),
        api=table.get("api", "chat"),
        asked_tier=tier_of(table.get("service_tier")) or asked_tier(table.get("params", {})) or AUTO,
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


def scan_rows(run: Path, kept: KeptColumn | None = None) -> Rows:
    """Of the results only as much is read as is asked of them later: a column, texts among them, or none.

    With a kept column the rows have two more, which it says.
    """
    beside = read_unsealed(RunLayout(run))
    loose, opened = _frame([*beside.settled, *beside.failed], kept), _frame(beside.open, kept)
    if not beside.parts:
        return Rows(loose.lazy(), opened, len(beside.settled))
    results = _scan_parts(beside.parts, read_identity(RunLayout(run)).format, kept)
    if loose.is_empty() and opened.is_empty():
        return Rows(results, opened, 0)
    place = ["file", "row"]
    # What is listed as failed or open may have been answered since.
    named = pl.concat([loose, opened]).select(place)
    overtaken = results.select(place).join(named.lazy(), on=place, how="semi").collect()
    loose, opened = (frame.join(overtaken, on=place, how="anti") for frame in (loose, opened))
    return Rows(pl.concat([results, loose.lazy()]), opened, len(beside.settled))


def _scan_parts(parts: Sequence[Path], format_number: int, kept: KeptColumn | None) -> pl.LazyFrame:
    """Our columns; those that an older format has not are null, whatever a kept one is called."""
    own = reserved_names(format_number)
    columns = (pl.col(name) if name in own else pl.lit(None, type_).alias(name) for name, type_ in _SCHEMA.items())
    return pl.scan_parquet(list(parts)).select(*columns, *(() if kept is None else kept.of_parts()))


def _frame(results: Sequence[Result], kept: KeptColumn | None) -> pl.DataFrame:
    """The rows that no part has; there are few, or they would have been sealed."""
    columns = {name: list(map(attrgetter(name), results)) for name in _SCHEMA}
    frame = pl.DataFrame(columns, schema=_SCHEMA)
    return frame if kept is None else frame.hstack(kept.of_results(results))


def scan_scores(run: Path, settled: pl.LazyFrame) -> pl.LazyFrame:
    """The scores of all rows scored so far, one column without nulls; from `settled` where none are stored."""
    parts = RunLayout(run).score_parts()
    scores = pl.scan_parquet(parts, extra_columns="ignore") if parts else settled
    return scores.select("score").drop_nulls()
