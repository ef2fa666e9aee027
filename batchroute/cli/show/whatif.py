"""A finished run at another threshold, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchroute.cli.show.words import count, money, percent

if TYPE_CHECKING:
    from batchroute.run.whatif import WhatIf


def whatif_words(found: WhatIf) -> str:
    """The threshold, what would go strong there, and what that would cost."""
    share = percent(found.strong_rows / found.rows if found.rows else None)
    delta = found.delta_usd
    difference = "difference unknown" if delta is None else f"{'+' if delta >= 0 else '-'}{money(abs(delta))}"
    return (
        f"threshold {found.threshold!r}: {count(found.strong_rows)} of {count(found.rows)} rows strong ({share})\n"
        f"{count(found.changed_rows)} rows change side\n"
        f"cost USD {money(found.cost_usd)} ({difference})"
    )
