"""The formats of `export`: one class and one entry in WRITERS each, which `--format` and a file's ending find.

Parquet and JSON lines are exact; CSV is for people, who open it in spreadsheets. Imports nothing heavy until
something is written: `export --help` lists the formats.
"""
# ruff: noqa: PLC0415  # for that reason

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from batchroute.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pyarrow as pa

AUTO = "auto"  # the ending of the file says which


class Writer(Protocol):
    """A format; what it makes has a name that ends in `suffix`."""

    suffix: ClassVar[str]

    def write(self, tables: Iterable[pa.Table], schema: pa.Schema, out: Path) -> None:
        """Writes tables of one schema, in their order, to `out`, where nothing is yet: a file, or a directory.

        That `out` appears whole or not at all, and is on disk, is its caller's responsibility.
        """


class Parquet:
    suffix: ClassVar[str] = ".parquet"

    def write(self, tables: Iterable[pa.Table], schema: pa.Schema, out: Path) -> None:
        import pyarrow.parquet as pq

        with pq.ParquetWriter(out, schema, compression="zstd") as writer:
            for table in tables:
                writer.write_table(table)


class JsonLines:
    """One object per row with every column; times are ISO 8601, binary is base64, NaN and infinity are null."""

    suffix: ClassVar[str] = ".jsonl"

    def write(self, tables: Iterable[pa.Table], schema: pa.Schema, out: Path) -> None:
        from batchroute.report.export.cells import rows_of, write_lines

        write_lines(out, rows_of(tables))


@dataclass(frozen=True, slots=True)
class Csv:
    """Header and rows; what is neither text nor a number as its JSON text.

    Text that a spreadsheet would run as a formula is defused unless `exact`.
    """

    suffix: ClassVar[str] = ".csv"
    exact: bool = False

    def write(self, tables: Iterable[pa.Table], schema: pa.Schema, out: Path) -> None:
        import pyarrow.csv as pa_csv

        from batchroute.report.export.cells import csv_table, slices

        head = csv_table(schema.empty_table(), exact=self.exact)
        with pa_csv.CSVWriter(out, head.schema) as writer:
            for table in slices(tables):
                writer.write_table(csv_table(table, exact=self.exact))


class BatchLines:
    """OpenAI batch output lines: the answer's whole body, or an error.

    The ids are our own, made of the place, but for `request_id` where the provider named one.
    """

    suffix: ClassVar[str] = ".jsonl"

    def write(self, tables: Iterable[pa.Table], schema: pa.Schema, out: Path) -> None:
        from batchroute.report.export.cells import batch_line, batch_rows, write_lines

        if "raw" not in schema.names:
            raise UsageFault(
                "batch output is made of whole answers, and this run kept none; a job with output.raw = true"
                " keeps them"
            )
        write_lines(out, (map(batch_line, rows) for rows in batch_rows(tables)))


# Of several with one ending, the first is what the ending stands for.
WRITERS: dict[str, Writer] = {
    "parquet": Parquet(),
    "jsonl": JsonLines(),
    "csv": Csv(),
    "openai-batch": BatchLines(),
}


def find_writer(out: Path, name: str, *, exact: bool) -> Writer:
    """The format `name`, or the one that the ending of `out` says; `exact` leaves CSV cells as they are."""
    writers = {**WRITERS, "csv": Csv(exact=exact)}
    if name == AUTO:
        found = next((writer for writer in writers.values() if writer.suffix == out.suffix), None)
        if found is None:
            endings = ", ".join(dict.fromkeys(writer.suffix for writer in writers.values()))
            raise UsageFault(f"cannot export to a file that ends in {out.suffix!r}; name one in {endings}")
        return found
    if name not in writers:
        raise UsageFault(f"no export format is called {name!r}; name one of {', '.join((AUTO, *writers))}")
    writer = writers[name]
    if writer.suffix != out.suffix:
        raise UsageFault(f"{out}: {name} output has a name that ends in {writer.suffix}; choose such a name")
    return writer
