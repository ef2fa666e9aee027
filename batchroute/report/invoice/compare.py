"""A provider's invoice beside what runs cost, per day and model: theirs, ours, the difference and its causes.

Of the runs only what was asked of hosts that have a model on the invoice is compared, of the invoice only the days
of the runs and their models; what that leaves out is said.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from batchroute.errors import UsageFault
from batchroute.report.figures import known_float
from batchroute.report.invoice.causes import Cause, causes_of, nothing_of_the_day
from batchroute.report.invoice.figures import Line, Reconciliation
from batchroute.report.invoice.overall import causes_of_all
from batchroute.report.invoice.sides import match_sides, read_runs
from batchroute.report.invoice.table import read_invoice

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from batchroute.report.invoice.cells import DayOrder
    from batchroute.report.invoice.sides import Key, Runs, Sides
    from batchroute.report.invoice.table import Billed

WITHIN_USD = Decimal("0.01")
_DAY = timedelta(days=1)


def reconcile(
    runs: Sequence[Path],
    invoice: Path,
    *,
    columns: Mapping[str, str] | None = None,
    dates: DayOrder | None = None,
    within_usd: Decimal = WITHIN_USD,
) -> Reconciliation:
    """What the file `invoice` says beside what the runs cost; a run that is named twice counts once.

    `columns` and `dates` say how the file is to be read where it does not tell by itself. UsageFault where nothing
    in it is of the runs, RunFault for a directory that is no run's.
    """
    own = read_runs(list({run.resolve(): run for run in runs}.values()))
    table = read_invoice(invoice, columns=columns or {}, dates=dates)
    try:
        sides = match_sides(own, table)
    except UsageFault as fault:
        raise UsageFault(f"{invoice}: {fault}") from None
    lines = [*_lines(sides, within_usd), *_router_lines(own, sides, within_usd)]
    ours_usd = sum(line.ours_usd or 0.0 for line in lines)
    theirs_usd = sum(line.theirs_usd or 0.0 for line in lines) if sides.has_amounts else None
    difference = None if theirs_usd is None else theirs_usd - ours_usd
    agrees = all(line.agrees for line in lines)
    differs = difference is not None and (difference > within_usd or not agrees)
    return Reconciliation(
        runs=own.names,
        invoice=invoice.name,
        columns=table.headings.named(),
        within_usd=float(within_usd),
        lines=lines,
        theirs_usd=theirs_usd,
        ours_usd=ours_usd,
        difference_usd=difference,
        agrees=agrees,
        causes=list(causes_of_all(own, sides, Decimal(difference or 0))) if differs else [],
        unconfirmed_usd=own.unconfirmed_usd,
        other_models_usd=_usd(billed for key, billed in sides.of_days.items() if key[1] not in own.models),
        other_days_usd=_usd(sides.other_days.values()),
        not_invoiced_usd=sides.not_invoiced_usd,
        simulated=any(each.endpoint.simulated for sums in own.sums.values() for each in sums),
    )


def _lines(sides: Sides, within_usd: Decimal) -> list[Line]:
    models = {model for _, model in sides.ours}
    keys = set(sides.ours) | {key for key in sides.of_days if key[1] in models}
    return [_line(key, sides, within_usd) for key in sorted(keys)]


def _line(key: Key, sides: Sides, within_usd: Decimal) -> Line:
    billed, ours, difference = sides.billed(key), sides.ours.get(key, ()), sides.difference(key)
    theirs_tokens = None if billed is None or billed.prompt is None else billed.prompt + (billed.output or 0)
    ours_tokens = sum(each.sums.prompt + each.sums.completion for each in ours)
    agrees = difference is not None and abs(difference) <= within_usd
    if not sides.has_amounts:
        agrees = (theirs_tokens or 0) == ours_tokens
    return Line(
        day=str(key[0]),
        model=key[1],
        theirs_usd=known_float(sides.theirs_usd(key)),
        ours_usd=known_float(sides.ours_usd(key)),
        difference_usd=known_float(difference),
        theirs_tokens=theirs_tokens,
        ours_tokens=ours_tokens,
        agrees=agrees,
        causes=[] if agrees else list(_causes(key, sides)),
    )


def _causes(key: Key, sides: Sides) -> Iterator[Cause]:
    difference = sides.difference(key)
    if sides.has_day(key[0]):
        yield from causes_of(difference, sides.billed(key), sides.ours.get(key, ()))
    else:
        yield nothing_of_the_day(difference)
    yield from _at_edges(key, difference, sides)


def _at_edges(key: Key, difference: Decimal | None, sides: Sides) -> Iterator[Cause]:
    """What may stand on the day before or after: there as much is missing as is too much here, or the reverse."""
    day, model = key
    for other in (day - _DAY, day + _DAY):
        there = sides.difference((other, model))
        # Amounts that do not nearly cancel are two things.
        if difference and there and abs(difference + there) <= max(abs(difference), abs(there)) / 2:
            usd = min(abs(difference), abs(there)).copy_sign(difference)
            words = f"billed on {other} by the one and on {day} by the other: its days may not be those of UTC"
            yield Cause("day_edge", float(usd), words)


def _router_lines(own: Runs, sides: Sides, within_usd: Decimal) -> Iterator[Line]:
    """Embeddings, over all days; where the invoice names no models they are in its sums of days."""
    for model, ours in own.router_usd.items():
        on_invoice = [billed for (_, name), billed in sides.of_days.items() if name == model]
        if not on_invoice:
            continue
        theirs = (
            sum((billed.usd or Decimal(0) for billed in on_invoice), Decimal(0)) if sides.has_amounts else None
        )
        difference = None if theirs is None else theirs - ours
        yield Line(
            day=None,
            model=model,
            theirs_usd=known_float(theirs if sides.has_amounts else None),
            ours_usd=float(ours),
            difference_usd=known_float(difference),
            theirs_tokens=None,
            ours_tokens=None,
            agrees=difference is None or abs(difference) <= within_usd,
            causes=[],
        )


def _usd(billed: Iterable[Billed]) -> float:
    return float(sum((each.usd for each in billed if each.usd is not None), Decimal(0)))
