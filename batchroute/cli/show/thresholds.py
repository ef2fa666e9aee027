"""What a threshold does, in words: the one that was calibrated, and a finished run at another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchroute.cli.show.words import count, money, percent

if TYPE_CHECKING:
    from batchroute.run.calibrate import Calibration
    from batchroute.run.whatif import WhatIf


def calibration_words(calibration: Calibration) -> str:
    """A line for the job file, with all the digits it takes to get the same rows again."""
    share = "no row has a score" if calibration.strong_fraction is None else f"{calibration.strong_fraction:.4%}"
    rows = f"{count(calibration.strong_rows)} of {count(calibration.rows)} rows go strong ({share})"
    return f"threshold = {calibration.threshold!r}  # {rows}"


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
