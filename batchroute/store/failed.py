"""Rows that failed for passing reasons, in failed.jsonl: the next run asks exactly these again.

Knows the file and how refused rows get into it; who asks a row again is decided elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchroute.errors import RunFault
from batchroute.store.columns import ResultColumns, Use, names_with
from batchroute.store.files import saving, whole_file
from batchroute.store.parts import write_part
from batchroute.types import Result

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.store.layout import RunLayout


_NAMES = names_with(Use.FAILED)
# A line of failed.jsonl: the fields of a result, but those that only an answer has. Built from the declarations of
# both, so that no field is kept here under another type. `finished_at` alone has a default of its own: lines that
# other programs wrote need not say when.
_FailedRow = msgspec.defstruct(
    "_FailedRow",
    [
        (field.name, field.type) if field.required else (field.name, field.type, field.default)
        for field in msgspec.structs.fields(Result)
        if field.name in _NAMES and field.name != "finished_at"
    ]
    + [("finished_at", int, 0)],
    kw_only=True,
)


def write_failed(path: Path, failed: list[Result]) -> None:
    """All failed rows, in input order as far as names tell; the file appears whole or not at all."""
    encode = msgspec.json.Encoder().encode
    with whole_file(path) as unfinished, unfinished.open("wb") as file:
        for result in sorted(failed, key=lambda result: (result.file, result.row)):
            fields = {name: getattr(result, name) for name in _NAMES}
            file.write(encode(fields) + b"\n")


def read_failed(path: Path) -> list[Result]:
    """What `write_failed` wrote; nothing where there is no file."""
    if not path.exists():
        return []
    try:
        rows = msgspec.json.Decoder(_FailedRow).decode_lines(path.read_bytes())
        return [Result(**msgspec.structs.asdict(row), status="failed") for row in rows]
    except ValueError as error:  # what msgspec raises, and bytes that are no UTF-8
        raise RunFault(f"{path}: not as a run wrote it ({error}); remove it to ask its rows anew") from error


def reopen_refused(run: RunLayout, columns: ResultColumns) -> None:
    """Turns refused rows that were or might have been asked into failed ones, so that the next run asks them.

    For a directory that is finished. They stand in failed.jsonl before they leave their part, so a crash between
    the two loses none. Rows that the input itself made unusable stay as they are.
    """
    names = [name for name in columns.own.names if name in _NAMES]
    for part in run.parts():
        table = pq.read_table(part)
        again = pc.and_(pc.equal(table["status"], "refused"), pc.not_equal(table["error_type"], "bad_row"))
        again = pc.fill_null(again, fill_value=False)
        if not pc.any(again).as_py():
            continue
        refused = table.filter(again).select(names)
        when = refused["finished_at"].cast(pa.int64())
        rows = refused.set_column(names.index("finished_at"), "finished_at", when).to_pylist()
        with saving(run.path):
            write_failed(run.failed, [*read_failed(run.failed), *(Result(**row, status="failed") for row in rows)])
            write_part(part, table.filter(pc.invert(again)))
