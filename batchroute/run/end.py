"""How a run ended, and report.json, which says so to everyone else.

The report is made of the files of the directory; here only what they do not tell is added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchroute.errors import Stopped

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended; the rows are those of the whole directory.

    `stopped` holds why a lane, or the run, ended early; `signal` the number of the signal that ended it; `asked`
    is False for a job that was complete before. Figures stand in report.json.
    """

    rows: int | None
    ok: int
    refused: int
    failed: int
    wall_s: float
    asked: bool
    stopped: tuple[str, ...] = ()
    signal: int | None = None

    @property
    def complete(self) -> bool:
        return self.failed == 0 and self.rows is not None and self.ok + self.refused >= self.rows

    def exit_code(self, ok_if_refused: float) -> int:
        """SPEC's table; `ok_if_refused` is the share of refused rows that passes as success."""
        if self.signal is not None:
            return 128 + self.signal
        if self.stopped:
            return Stopped.exit_code
        is_success = self.refused <= ok_if_refused * (self.ok + self.refused)
        return 0 if self.failed == 0 and is_success else 3


def write_running(run: Path) -> None:
    """report.json tells a scheduler's sensor that figures are on their way; those in it are from before."""
    from msgspec.structs import replace  # noqa: PLC0415 - beside what follows

    from batchroute.report.build import build_report  # noqa: PLC0415 - imports polars, which a run does not need
    from batchroute.report.figures import read_report, write_report  # noqa: PLC0415 - the same

    before = read_report(run)
    write_report(run, replace(before or build_report(run), state="running"))


def write_end(run: Path, end: RunEnd, *, router_usd: float | None, unconfirmed_usd: float | None) -> None:
    """report.json, and `_SUCCESS` where the run is complete; see `build_report` for the amounts."""
    from batchroute.report.build import build_report  # noqa: PLC0415 - imports polars, which a run does not need
    from batchroute.report.figures import write_report  # noqa: PLC0415 - the same

    report = build_report(
        run,
        wall_s=end.wall_s,
        state="complete" if end.complete else "incomplete",
        router_cost_usd=router_usd,
        unconfirmed_usd=unconfirmed_usd,
    )
    write_report(run, report)
