"""Rows that failed for passing reasons, in failed.jsonl: the next run asks exactly these again.

Knows the file and how refused rows get into it; who asks a row again is decided elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchroute.errors import RunFault
from batchroute.store.files import saving, whole_file
from batchroute.store.parts import write_part
from batchroute.types import Result

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.store.layout import RunLayout


class _FailedRow(msgspec.Struct, kw_only=True):
    """A line of failed.jsonl: the result columns but those only an answer has."""

    file: str
    row: int
    id: str | None
    score: float | None
    route: str | None
    route_reason: str | None
    model: str | None
    attempts: int
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    latency_s: float | None = None
    error_type: str | None = None
    error: str | None = None
    finished_at: int = 0


def write_failed(path: Path, failed: list[Result]) -> None:
    """All failed rows, in input order as far as names tell; the file appears whole or not at all."""
    encode = msgspec.json.Encoder().encode
    with whole_file(path) as unfinished, unfinished.open("wb") as file:
        for result in sorted(failed, key=lambda result: (result.file, result.row)):
            fields = {name: getattr(result, name) for name in _FailedRow.__struct_fields__}
            file.write(encode(fields) + b"\n")


def read_failed(path: Path) -> list[Result]:
    """What `write_failed` wrote; nothing where there is no file."""
    if not path.exists():
        return []
    try:
        rows = msgspec.json.Decoder(_FailedRow).decode_lines(path.read_bytes())
        return [Result(**msgspec.structs.asdict(row), status="failed") for row in rows]
    except msgspec.DecodeError as error:
        raise RunFault(f"{path}: not as a run wrote it ({error}); remove it to ask its rows anew") from error


def reopen_refused(run: RunLayout) -> None:
    """Turns refused rows that were or might have been asked into failed ones, so that the next run asks them.

    For a directory that is finished. They stand in failed.jsonl before they leave their part, so a crash between
    the two loses none. Rows that the input itself made unusable stay as they are.
    """
    for part in run.parts():
        table = pq.read_table(part)
        again = pc.and_(pc.equal(table["status"], "refused"), pc.not_equal(table["error_type"], "bad_row"))
        again = pc.fill_null(again, fill_value=False)
        rows = table.filter(again).select([*_FailedRow.__struct_fields__]).to_pylist()
        if not rows:
            continue
        with saving(run.path):
            write_failed(run.failed, [*read_failed(run.failed), *(_as_failed(row) for row in rows)])
            write_part(part, table.filter(pc.invert(again)))


def _as_failed(row: dict[str, Any]) -> Result:
    finished_at = int(row.pop("finished_at").timestamp() * 1e6)
    return Result(**row, status="failed", finished_at=finished_at)
