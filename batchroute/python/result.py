"""What came of a run, as a value: its directory, opened to look at. Sends nothing and changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from batchroute.report.figures import read_report
from batchroute.store.identity import read_identity
from batchroute.store.layout import RunLayout

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import polars as pl

    from batchroute.report.figures import Report, State


class Run:
    """A run directory, and how the run ended that was begun here.

    `exit_code` is what the command would have exited with, and `stopped` why the run, or a lane, ended early; of a
    run that was only opened they are None and empty.
    """

    def __init__(self, path: Path, exit_code: int | None = None, stopped: Sequence[str] = ()) -> None:
        self.path = path
        self.exit_code = exit_code
        self.stopped = tuple(stopped)

    @property
    def report(self) -> Report:
        """Every figure of report.json; of a run that is at work or was killed, what its files say by now."""
        report = read_report(self.path)
        if report is not None and report.state != "running":
            return report
        from batchroute.report.build import build_report  # noqa: PLC0415 - imports polars

        return build_report(self.path)

    @property
    def state(self) -> State:
        """complete, refusals (more than limits.ok_if_refused), or incomplete (rows failed, or are left)."""
        return self.report.state

    @property
    def cost_usd(self) -> float | None:
        """What the endpoints' answers cost, over all runs of the directory; None where no price is known."""
        return self.report.cost_usd

    def df(self) -> pl.DataFrame:
        """One row for each row of the input, in its order: answer, route, cost, tokens ..., kept columns last.

            run.df().filter(pl.col("status") == "ok").select("text", "response", "cost_usd")

        `status` is ok or refused, or failed for a row that the next run asks again, or null for one that was not
        asked yet; of those two only the place, the score and the error are known. `.to_pandas()` works on it.
        """
        from batchroute.python.rows import rows_of  # noqa: PLC0415 - imports polars

        return rows_of(self.path)

    def __repr__(self) -> str:
        report = self.report
        cost = "unknown" if report.cost_usd is None else round(report.cost_usd, 4)
        counts = f"ok={report.ok}, refused={report.refused}, failed={report.failed}, remaining={report.remaining}"
        return f"Run({str(self.path)!r}, {report.state!r}, {counts}, cost_usd={cost})"

    def _repr_html_(self) -> str:
        from batchroute.show.notebook import run_html  # noqa: PLC0415 - only a notebook asks

        return run_html(self.path, self.report, self.stopped)


def open_run(path: str | os.PathLike[str]) -> Run:
    """The run in a directory, by whatever it was begun; RunFault where there is none.

    br.open_run("runs/2026-11-28").df()
    """
    run = Run(Path(path).absolute())
    read_identity(RunLayout(run.path))
    return run
