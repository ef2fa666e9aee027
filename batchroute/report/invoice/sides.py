"""Both sides of a reconciliation, by the same keys: what runs have, and what of an invoice is theirs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias

from batchroute.errors import UsageFault
from batchroute.report.beside import router_cost_of, unconfirmed_usd_of
from batchroute.report.daily import daily_sums
from batchroute.report.figures import read_report, sum_if_known
from batchroute.report.invoice.causes import OwnSum
from batchroute.report.invoice.names import fold_model
from batchroute.report.read import read_job

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date
    from pathlib import Path

    from batchroute.report.invoice.table import Billed, Invoice

Key: TypeAlias = "tuple[date, str]"  # a day and the name of a model, as the runs have it
ALL_MODELS = "all models"  # where the invoice names none
_NOT_MOVED = timedelta(0)


@dataclass(frozen=True, slots=True)
class Runs:
    """What runs have: sums by day and model; embeddings by model, for which they know no day."""

    names: list[str]
    sums: Mapping[Key, Sequence[OwnSum]]
    router_usd: Mapping[str, Decimal]
    unconfirmed_usd: float | None

    @property
    def models(self) -> set[str]:
        return {model for _, model in self.sums} | set(self.router_usd) | {ALL_MODELS}


@dataclass(frozen=True, slots=True)
class Sides:
    """What is compared: `ours`, and of the invoice `of_days` of the runs, by the same keys.

    `other_days` are those of the runs' models on other days.
    """

    ours: Mapping[Key, Sequence[OwnSum]]
    of_days: Mapping[Key, Billed]
    other_days: Mapping[Key, Billed]
    not_invoiced_usd: dict[str, float]
    has_amounts: bool
    has_models: bool

    def billed(self, key: Key) -> Billed | None:
        return self.of_days.get(key) or self.other_days.get(key)

    def has_day(self, day: date) -> bool:
        """Whether the invoice has anything of a day."""
        return any(day == each for each, _ in (*self.of_days, *self.other_days))

    def theirs_usd(self, key: Key) -> Decimal | None:
        """What is not on the invoice was not billed; None where that has no amounts at all."""
        billed = self.billed(key)
        return (Decimal(0) if billed is None or billed.usd is None else billed.usd) if self.has_amounts else None

    def ours_usd(self, key: Key) -> Decimal | None:
        """None where there is a bill, and nothing of it is known."""
        sums = [each.sums for each in self.ours.get(key, ())]
        is_known = not sums or any(each.rows > each.unknown for each in sums)
        return sum((each.cost_usd for each in sums), Decimal(0)) if is_known else None

    def difference(self, key: Key) -> Decimal | None:
        theirs, ours = self.theirs_usd(key), self.ours_usd(key)
        return None if theirs is None or ours is None else theirs - ours

    def total_usd(self, moved: timedelta = _NOT_MOVED) -> tuple[Decimal, Decimal]:
        """Theirs of our days and models, each `moved` by so much, and ours; what is unknown is in neither."""
        pairs = self._pairs(moved)
        return sum((theirs for theirs, _ in pairs), Decimal(0)), sum((ours for _, ours in pairs), Decimal(0))

    def apart_usd(self, moved: timedelta = _NOT_MOVED) -> Decimal:
        """By how much days and models differ, added up, whichever side is the higher."""
        return sum((abs(theirs - ours) for theirs, ours in self._pairs(moved)), Decimal(0))

    def _pairs(self, moved: timedelta) -> list[tuple[Decimal, Decimal]]:
        unknown = Decimal(0)
        return [
            (self.theirs_usd((day + moved, model)) or unknown, self.ours_usd((day, model)) or unknown)
            for day, model in self.ours
        ]


def read_runs(runs: Sequence[Path]) -> Runs:
    sums: dict[Key, list[OwnSum]] = defaultdict(list)
    router_usd: dict[str, Decimal] = defaultdict(Decimal)
    unconfirmed: list[float | None] = []
    for run in runs:
        job, earlier, billed = read_job(run), read_report(run), daily_sums(run)
        for each in billed:
            sums[each.day, each.sku.model].append(OwnSum(each, job.endpoints[each.sku.route]))
        embeddings = Decimal(repr(router_cost_of(job, earlier) or 0.0))
        if job.embedder is not None and embeddings:
            router_usd[job.embedder.model] += embeddings
        spent = sum((each.cost_usd for each in billed), embeddings)
        unconfirmed.append(unconfirmed_usd_of(run, float(spent), earlier))
    if not sums:
        raise UsageFault(f"{', '.join(map(str, runs))}: nothing has been billed that could be compared")
    return Runs([run.resolve().name for run in runs], sums, router_usd, sum_if_known(unconfirmed))


def match_sides(own: Runs, table: Invoice) -> Sides:
    has_models = any(model for _, model in table.billed)
    theirs: dict[Key, Billed] = {}
    for (day, name), billed in table.billed.items():
        key = day, fold_model(name, own.models) if has_models else ALL_MODELS
        theirs[key] = billed + theirs[key] if key in theirs else billed
    ours, left = _on_invoice(own, {model for _, model in theirs}) if has_models else (_all_models(own), {})
    first, last = min(day for day, _ in ours), max(day for day, _ in ours)
    of_days = {key: billed for key, billed in theirs.items() if first <= key[0] <= last}
    if not of_days:
        days = [day for day, _ in theirs]
        raise UsageFault(f"it is of {min(days)} to {max(days)}, the runs of {first} to {last} (UTC)")
    return Sides(
        ours=ours,
        of_days=of_days,
        other_days={key: each for key, each in theirs.items() if key not in of_days and key[1] in own.models},
        not_invoiced_usd=left,
        has_amounts=bool(table.headings.usd or table.headings.cents),
        has_models=has_models,
    )


def _on_invoice(own: Runs, named: set[str]) -> tuple[Mapping[Key, Sequence[OwnSum]], dict[str, float]]:
    """The sums of hosts that have a model on the invoice, and what all others cost, by model."""
    hosts = {each.endpoint.base_url for (_, model), sums in own.sums.items() if model in named for each in sums}
    if not hosts and not named & set(own.router_usd):
        ours = ", ".join(sorted(own.models - {ALL_MODELS}))
        raise UsageFault(
            f"none of its models ({', '.join(sorted(named)[:5])}) is one of the runs' ({ours}); "
            "say which column has them with --columns model=NAME"
        )
    found: dict[Key, Sequence[OwnSum]] = {}
    left: dict[str, float] = defaultdict(float)
    for key, sums in own.sums.items():
        if not hosts or any(each.endpoint.base_url in hosts for each in sums):
            found[key] = sums
        else:
            left[key[1]] += float(sum(each.sums.cost_usd for each in sums))
    return found, dict(left)


def _all_models(own: Runs) -> Mapping[Key, Sequence[OwnSum]]:
    found: dict[Key, list[OwnSum]] = defaultdict(list)
    for (day, _), sums in own.sums.items():
        found[day, ALL_MODELS] += sums
    return found
