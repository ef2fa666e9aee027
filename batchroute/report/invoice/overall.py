"""Why a whole invoice may differ from what runs cost: causes that belong to no single day and model."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from batchroute.report.invoice.causes import Cause, is_about

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from batchroute.report.invoice.sides import Runs, Sides

_CENTS = 100
_FITS = 4  # a day to either side may be the cause where it leaves no more than a fourth of the differences

# Worked example. A job runs each night at 02:00 UTC, and the invoice has the days of California: 1.10, 0.90 and
# 1.30 on the 20th to the 22nd, where we have the same on the 21st to the 23rd. As they stand, the days of ours
# differ by 0.20 + 0.40 + 1.30 = 1.90 USD, and the 20th is none of ours. Laid a day later, they differ by nothing.


def causes_of_all(own: Runs, sides: Sides, difference: Decimal) -> Iterator[Cause]:
    """What may make all of the invoice differ by so much (theirs less ours)."""
    theirs, ours = sides.total_usd()
    if is_about(theirs, _CENTS * ours):
        words = "all of it is a hundred times ours: the amounts may be cents; say so with --columns cents=NAME"
        yield Cause("cents", float(theirs - theirs / _CENTS), words)
    yield from _of_another_day(sides)
    if difference > 0 and own.unconfirmed_usd != 0:
        words = "requests that brought no usage, so what they were billed is not known (unconfirmed), at most"
        yield Cause("unconfirmed", own.unconfirmed_usd, words)
    if difference > 0 and not sides.has_models and own.router_usd:
        yield Cause(
            "embeddings", float(sum(own.router_usd.values())), "the router's embeddings, in no line of ours"
        )


def _of_another_day(sides: Sides) -> Iterator[Cause]:
    theirs, ours = sides.total_usd()
    apart = min(sides.apart_usd(), ours)  # of ours: next to a large bill, a day without any is as good as ours
    for days, word in ((-1, "next"), (1, "previous")):
        there = timedelta(days=days)
        if sides.apart_usd(there) * _FITS <= apart:
            words = f"what it has of each day is ours of the {word} one: its days may not be those of UTC"
            yield Cause("day_edge", float(theirs - sides.total_usd(there)[0]), words)
