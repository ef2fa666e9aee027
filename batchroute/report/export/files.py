"""`export`: the results of a run as one file or directory that appears whole or not at all."""

from __future__ import annotations

import logging
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq

from batchroute.errors import RunFault, UsageFault
from batchroute.report.export.order import tables_in_order
from batchroute.report.export.writers import AUTO, find_writer
from batchroute.report.read import read_job
from batchroute.store.files import refuse_homeless, saving, whole_path
from batchroute.store.identity import read_identity
from batchroute.store.layout import RunLayout, by_shard
from batchroute.store.unsealed import read_unsealed

_LOG = logging.getLogger(__name__)


def export_run(run: Path, out: Path, *, format: str = AUTO, exact: bool = False) -> int:  # noqa: A002  # the flag
    """Writes the results in the directory `run` to `out` in input order; returns the number of rows.

    `format` names one of WRITERS; without it the ending of `out` does. `exact` leaves CSV cells as they are. Input
    rows without a result are counted in a warning. Raises UsageFault where this cannot be done, Stopped where the
    disk does not take it; `out` then is as it was.
    """
    job, parts = read_job(run), RunLayout(run).parts()
    unsealed = len(read_unsealed(RunLayout(run)).settled)
    waiting = f"; {unsealed:,} answers in its journal are not sealed yet: run the job again, which does that first"
    if not parts:
        raise RunFault(f"{run}: no results yet{waiting if unsealed else '; run the job first'}")
    writer = find_writer(out, format, exact=exact)
    _check_place(run, out)
    with (
        saving(out),
        TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as spill,
        whole_path(out) as unfinished,
    ):
        of_shards = by_shard(parts) if RunLayout(run).shards.exists() else [parts]
        tables = chain.from_iterable(tables_in_order(each, job.files, Path(spill)) for each in of_shards)
        writer.write(tables, pq.read_schema(parts[0]), unfinished)
    rows: int = sum(pq.read_metadata(part).num_rows for part in parts)
    if job.rows is None or rows < job.rows:
        missing = (
            "the input is not scored to its end" if job.rows is None else f"{job.rows - rows:,} have none yet"
        )
        _LOG.warning("%s: %s rows have a result; %s%s", run, f"{rows:,}", missing, waiting if unsealed else "")
    return rows


def _check_place(run: Path, out: Path) -> None:
    refuse_homeless(out)
    if out.resolve().is_relative_to(RunLayout(run).results.resolve()):
        raise UsageFault(f"{out}: only a run writes into its results folder; choose another place")
    written = [Path(path) for path in read_identity(RunLayout(run)).tables().get("input", {}).get("path", [])]
    if out.exists() and any(out.resolve().match(str(path)) or path in out.resolve().parents for path in written):
        raise UsageFault(f"{out}: is the input of the run; choose another place")
