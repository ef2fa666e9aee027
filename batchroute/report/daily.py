"""The bill of a run by day, model and tier of service, as providers send theirs: sums of rows that were billed.

A day is one of UTC, by `finished_at`. Bounded by what occurs of these, whatever the number of rows. Rows that took
their answer from another run are in none: nothing was consumed for them. Prices nothing.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl

from batchroute.job.prices import open_target
from batchroute.job.served import is_asked_model
from batchroute.job.tiers import AUTO, STANDARD, tier_of
from batchroute.report.read import read_job, scan_rows
from batchroute.report.sums import has_unknown_cost
from batchroute.report.token_sums import band_ends, band_of
from batchroute.store.layout import RunLayout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date
    from pathlib import Path

    from batchroute.report.kept_columns import KeptColumn
    from batchroute.report.read import RunEndpoint


@dataclass(frozen=True, slots=True)
class Sku:
    """What is billed by one price: the answers of a model at an endpoint, in one tier, to prompts of some length.

    `model` is the one asked for, whichever version of it answered, or the one that answered in its place:
    `is_other`. No prompt is longer than `longest_prompt`.
    """

    route: str
    model: str
    is_other: bool
    tier: str
    longest_prompt: int


@dataclass(frozen=True, slots=True)
class DaySum:
    """What was billed for a SKU on one day; `tag` is the text of a kept column that the rows share.

    `unknown` rows were billed nobody knows how much, and are in no other sum.
    """

    day: date
    sku: Sku
    tag: str | None
    rows: int
    unknown: int
    attempts: int
    prompt: int
    cached: int
    written: int
    completion: int
    cost_usd: Decimal

    def __add__(self, other: DaySum) -> DaySum:
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in _SUMMED})


_SUMMED = ("rows", "unknown", "attempts", "prompt", "cached", "written", "completion", "cost_usd")


def daily_sums(run: Path, tag: KeptColumn | None = None) -> list[DaySum]:
    """Of the run in the directory `run`, day by day; RunFault where it is none.

    A row that says no day, as lines of failed.jsonl may that others wrote, counts on the last one of the run.
    """
    job, rows = read_job(run), scan_rows(run, tag)
    ends = band_ends(open_target(name, endpoint).pricing for name, endpoint in job.endpoints.items())
    keys = ["day", "route", "model", "served_model", "service_tier", "band", *([] if tag is None else ["kept"])]
    billed = _billed(pl.concat([rows.settled, rows.open.lazy()])).with_columns(
        band=band_of(pl.col("prompt"), ends)
    )
    sums = billed.group_by(keys).agg(pl.len().alias("rows"), pl.col(*_SUMMED[1:]).sum()).collect()
    last = max(sums["day"].drop_nulls().to_list(), default=began_on(run))
    found: dict[tuple[date, Sku, str | None], DaySum] = {}
    for row in sums.iter_rows(named=True):
        each = _day_sum(row, job.endpoints[row["route"]], last, ends)
        key = each.day, each.sku, each.tag
        found[key] = each + found[key] if key in found else each
    return [found[key] for key in sorted(found, key=_order)]


def began_on(run: Path) -> date:
    """The day on which the directory's job was last written, for a run of which no row says one."""
    return datetime.fromtimestamp(RunLayout(run).job.stat().st_mtime, UTC).date()


def _order(key: tuple[date, Sku, str | None]) -> tuple[date, tuple[object, ...], str]:
    day, sku, tag = key
    return day, astuple(sku), tag or ""


def _billed(rows: pl.LazyFrame) -> pl.LazyFrame:
    """The rows for which a bill came, with the tokens of those whose cost is known."""
    at, prompt = pl.col("finished_at"), pl.col("prompt_tokens").fill_null(0)
    written = pl.min_horizontal(pl.col("cache_write_tokens").fill_null(0), prompt)
    counts = {
        "attempts": pl.col("attempts").cast(pl.Int64),
        "prompt": prompt,
        # A provider that counts what a cache had beside the prompt must not make the rest negative.
        "cached": pl.min_horizontal(pl.col("cached_tokens").fill_null(0), prompt - written),
        "written": written,
        "completion": pl.col("completion_tokens").fill_null(0),
        "cost_usd": pl.col("cost_usd").fill_null(0.0),
    }
    asked = rows.filter((pl.col("attempts") > 0) & (has_unknown_cost() | pl.col("cost_usd").is_not_null()))
    return asked.with_columns(
        day=pl.when(at.dt.epoch("us") > 0).then(at.dt.date()),
        unknown=has_unknown_cost().cast(pl.Int64),
        **{name: pl.when(has_unknown_cost()).then(0).otherwise(each) for name, each in counts.items()},
    )


def _day_sum(row: Mapping[str, Any], endpoint: RunEndpoint, last: date, ends: Sequence[int]) -> DaySum:
    served, asked = row["served_model"], row["model"] or endpoint.model
    is_other = served is not None and not is_asked_model(asked, served)
    tier = tier_of(row["service_tier"]) or AUTO
    asked_tier = STANDARD if endpoint.asked_tier == AUTO else endpoint.asked_tier
    return DaySum(
        day=row["day"] or last,
        sku=Sku(
            route=row["route"],
            model=served if is_other else asked,
            is_other=is_other,
            tier=asked_tier if tier == AUTO else tier,
            longest_prompt=ends[row["band"]],
        ),
        tag=row.get("kept"),
        cost_usd=Decimal(repr(row["cost_usd"])),
        **{name: row[name] for name in _SUMMED if name != "cost_usd"},
    )
