"""`export`: which file is written how, and that it appears whole or not at all."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, Literal, TypeAlias

import pyarrow.parquet as pq

from batchroute.errors import RunFault, UsageFault
from batchroute.report.export.formats import write_batch_lines, write_csv, write_jsonl, write_parquet
from batchroute.report.export.order import tables_in_order
from batchroute.report.read import read_job
from batchroute.store.files import AS_UMASK_SAYS, refuse_homeless, saving, whole_file
from batchroute.store.layout import RunLayout
from batchroute.store.unsealed import read_unsealed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pyarrow as pa

Format: TypeAlias = Literal["auto", "openai-batch"]

Writer: TypeAlias = "Callable[[Iterable[pa.Table], pa.Schema, IO[bytes]], None]"

_LOG = logging.getLogger(__name__)


def export_run(run: Path, out: Path, *, format: Format = "auto", exact: bool = False) -> int:  # noqa: A002  # the flag
    """Writes the results in the directory `run` to the file `out` in input order; returns the number of rows.

    The ending of `out` says how: .parquet, .jsonl or .csv. `exact` leaves CSV cells as they are. Input rows
    without a result are counted in a warning. Raises UsageFault where this cannot be done, Stopped where the disk
    does not take it; `out` then is as it was.
    """
    job, parts = read_job(run), RunLayout(run).parts()
    unsealed = len(read_unsealed(run).settled)
    waiting = f"; {unsealed:,} answers in its journal are not sealed yet: run the job again, which does that first"
    if not parts:
        raise RunFault(f"{run}: no results yet{waiting if unsealed else '; run the job first'}")
    schema = pq.read_schema(parts[0])
    writer = _writer(out.suffix, exact=exact) if format == "auto" else _batch_writer(run, out, schema)
    _check_place(run, out)
    with saving(out):
        _write(out, parts, job.files, schema, writer)
    rows: int = sum(pq.read_metadata(part).num_rows for part in parts)
    if job.rows is None or rows < job.rows:
        missing = (
            "the input is not scored to its end" if job.rows is None else f"{job.rows - rows:,} have none yet"
        )
        _LOG.warning("%s: %s rows have a result; %s%s", run, f"{rows:,}", missing, waiting if unsealed else "")
    return rows


def _writer(suffix: str, *, exact: bool) -> Writer:
    writers: dict[str, Writer] = {
        ".parquet": write_parquet,
        ".jsonl": write_jsonl,
        ".csv": partial(write_csv, exact=exact),
    }
    if suffix not in writers:
        raise UsageFault(f"cannot export to a file that ends in {suffix!r}; name one in {', '.join(writers)}")
    return writers[suffix]


def _batch_writer(run: Path, out: Path, schema: pa.Schema) -> Writer:
    if out.suffix != ".jsonl":
        raise UsageFault(f"{out}: batch output is JSON lines; name a file that ends in .jsonl")
    if "raw" not in schema.names:
        raise UsageFault(
            f"{run}: batch output is made of whole answers, and this run kept none;"
            " a job with output.raw = true keeps them"
        )
    return write_batch_lines


def _check_place(run: Path, out: Path) -> None:
    refuse_homeless(out)
    if out.resolve().is_relative_to(RunLayout(run).results.resolve()):
        raise UsageFault(f"{out}: only a run writes into its results folder; choose another place")


def _write(out: Path, parts: Sequence[Path], files: Sequence[str], schema: pa.Schema, writer: Writer) -> None:
    spilled = TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.")
    with spilled as spill, whole_file(out, mode=AS_UMASK_SAYS) as unfinished, unfinished.open("wb") as stream:
        writer(tables_in_order(parts, files, Path(spill)), schema, stream)
