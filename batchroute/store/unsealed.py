"""What a run directory holds beside its sealed parts: failed.jsonl, and answers in journals.

The rows in failed.jsonl failed for passing reasons, and the next run asks exactly these again. Journals are there
where a run is at work or was killed.

Knows files and records, and how refused rows become failed ones; who asks a row again is decided elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchroute.store.columns import ResultColumns, Use, names_with
from batchroute.store.files import decoding, saving, whole_file
from batchroute.store.journal import read_ends, read_journal
from batchroute.store.layout import RunLayout, layouts_of
from batchroute.store.parts import write_part
from batchroute.types import Result

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


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


def has_answers(run: RunLayout) -> bool:
    """Whether any row is `ok`, which freezes what the directory is held to."""
    journals = (journal for each in layouts_of(run.path) for journal in each.journals())
    ends = (end.status for journal in journals for end, _ in read_ends(journal))
    return any(map(_has_answers, run.parts())) or "ok" in ends


def _has_answers(part: Path) -> bool:
    try:
        with pq.ParquetFile(part) as file:
            return bool(pc.any(pc.equal(file.read(["status"])["status"], "ok")).as_py())
    except (OSError, pa.ArrowInvalid):
        return False  # whoever opens the directory to go on is told


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
    with decoding(path, "remove it to ask its rows anew"):
        rows = msgspec.json.Decoder(_FailedRow).decode_lines(path.read_bytes())
        return [Result(**msgspec.structs.asdict(row), status="failed") for row in rows]


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


@dataclass(frozen=True, slots=True)
class Unsealed:
    """The sealed `parts` of a directory, and of the rows beside them each once, by what was said of it last.

    `settled` rows are done, and wait in a journal to be sealed; `failed` ones are asked again by the next run;
    `open` ones were begun and have cost something. Failed and open rows may stand in a part since.
    """

    parts: Sequence[Path]
    settled: Sequence[Result]
    failed: Sequence[Result]
    open: Sequence[Result]


def read_unsealed(run: RunLayout) -> Unsealed:
    """What lies in a run directory, all its shards with it, or in one shard.

    Also while a run seals there: a part is there before its journal goes.
    """
    layouts = [run] if run.shard is not None else layouts_of(run.path)
    journals = [(each.part_of(path), list(read_journal(path))) for each in layouts for path in each.journals()]
    parts = run.parts()
    sealed = set(parts)
    failed = [result for each in layouts for result in read_failed(each.failed)]
    last = {(result.file, result.row): result for result in failed}
    for part, results in journals:
        if part not in sealed:
            last |= {(result.file, result.row): result for result in results}
    return Unsealed(
        parts=parts,
        settled=[result for result in last.values() if result.status in {"ok", "refused"}],
        failed=[result for result in last.values() if result.status == "failed"],
        open=[result for result in last.values() if result.status == "open"],
    )
