"""A label file -> its rows, checked: every fault is found here, and none has to be expected later.

The columns say which form it is: outcomes (`prompt, model, score`), battles (`prompt, model_a, model_b, winner`),
pairs (`prompt, strong, weak`). Optional: `domain`, and a column of vectors.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec
import numpy as np
import polars as pl

from batchroute.errors import InputFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from batchroute.types import Vectors

Form: TypeAlias = Literal["outcomes", "battles", "pairs"]

FORMS: dict[Form, tuple[str, ...]] = {
    "outcomes": ("prompt", "model", "score"),
    "battles": ("prompt", "model_a", "model_b", "winner"),
    "pairs": ("prompt", "strong", "weak"),
}
TEXTS = ("prompt", "model", "model_a", "model_b", "winner", "domain")
NUMBERS = ("score", "strong", "weak")
WINNERS = {"model_a": 1.0, "tie": 0.5, "model_b": 0.0}
ROW = "row"


@dataclass(frozen=True, slots=True)
class LabelFile:
    """n checked rows: a form's columns, `domain` (the file's stem where it has none) and `row`, 0 to n - 1.

    Texts are String, scores Float64 in [0, 1]; `vectors` [n, dim] is the column asked for.
    """

    file: Path
    form: Form
    frame: pl.DataFrame
    vectors: Vectors | None = None


def read_label_file(file: Path, vector_column: str | None = None) -> LabelFile:
    """InputFault, naming the file and where it helps the row, for anything that would make a wrong label."""
    raw = _read(file, vector_column)
    form = _form(file, raw.columns)
    if raw.is_empty():
        raise InputFault(f"{file}: holds no labels")
    domain = "domain" if "domain" in raw.columns else pl.lit(file.stem).alias("domain")
    frame = raw.select(*FORMS[form], domain).with_row_index(ROW)
    frame = frame.with_columns(_typed(name, frame.schema[name]) for name in frame.columns if name != ROW)
    frame = frame.with_columns(pl.col("domain").fill_null(""))
    _check_texts(file, form, frame)
    _check_scores(file, frame)
    return LabelFile(file, form, frame, None if vector_column is None else _vectors(file, raw, vector_column))


def _form(file: Path, columns: list[str]) -> Form:
    for form, needed in FORMS.items():
        if set(columns) >= set(needed):
            return form
    forms = "; ".join(", ".join(needed) for needed in FORMS.values())
    raise InputFault(f"{file}: labels need one of these sets of columns: {forms}")


def _read(file: Path, vector_column: str | None) -> pl.DataFrame:
    readers: dict[str, Callable[[], pl.DataFrame]] = {
        ".parquet": lambda: pl.read_parquet(file),
        ".jsonl": lambda: _read_lines(file, vector_column),
        ".ndjson": lambda: _read_lines(file, vector_column),
        ".csv": lambda: pl.read_csv(file, infer_schema=False),
    }
    if file.suffix not in readers:
        raise InputFault(f"{file}: labels are read from {', '.join(readers)}")
    try:
        return readers[file.suffix]()
    except (pl.exceptions.PolarsError, OSError) as fault:
        raise InputFault(f"{file}: cannot be read: {str(fault).splitlines()[0]}") from fault


def _read_lines(file: Path, vector_column: str | None) -> pl.DataFrame:
    """A row a line, as Python's json reads it: fields may come late, and types may drift."""
    rows = list(_lines(file))
    wanted = (*TEXTS, *NUMBERS)
    present = {name for row in rows for name in row}
    columns: dict[str, Any] = {
        name: [_cleaned(row.get(name), name) for row in rows] for name in wanted if name in present
    }
    if vector_column in present:
        columns[str(vector_column)] = pl.Series([_numbers(row.get(vector_column)) for row in rows])
    schema = {name: pl.Float64 if name in NUMBERS else pl.String for name in columns if name in wanted}
    return pl.DataFrame(columns, schema_overrides=schema)


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = _decoded(line)
            except ValueError as fault:
                raise InputFault(f"{file}: line {number}: not JSON: {fault}") from fault
            if not isinstance(row, dict):
                raise InputFault(f"{file}: line {number}: not a JSON object")
            yield row


def _decoded(line: bytes) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return json.loads(line)  # reads what the fast parser does not: NaN, half an emoji


def _cleaned(value: Any, name: str) -> str | float | None:
    if name in NUMBERS:
        return float(value) if isinstance(value, int | float) else None
    if not isinstance(value, str):
        return None
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _numbers(value: Any) -> list[float] | None:
    is_vector = isinstance(value, list) and all(isinstance(number, int | float) for number in value)
    return [float(number) for number in value] if is_vector else None


def _typed(name: str, dtype: pl.DataType) -> pl.Expr:
    """A column in the type it is used in; null where a value cannot be."""
    column = pl.col(name)
    if name in NUMBERS:
        as_text = column.replace({"true": "1", "false": "0", "True": "1", "False": "0"})  # a CSV has only texts
        return (as_text if dtype == pl.String else column).cast(pl.Float64, strict=False)
    if name == "prompt" and dtype not in {pl.String, pl.Categorical}:
        return pl.lit(None, pl.String).alias(name)
    return column.cast(pl.String, strict=False)


def _check_texts(file: Path, form: Form, frame: pl.DataFrame) -> None:
    for name in FORMS[form]:
        if name in TEXTS and name != "winner" and frame[name].null_count():
            raise InputFault(f"{file}: row {_first(frame[name].is_null())}: a {name} is missing or is no text")
    if form == "battles":
        unknown = ~frame["winner"].fill_null("null").is_in(list(WINNERS))
        if unknown.any():
            row = _first(unknown)
            raise InputFault(
                f"{file}: row {row}: winner is {frame['winner'][row] or 'null'!r}, not one of {', '.join(WINNERS)}"
            )


def _check_scores(file: Path, frame: pl.DataFrame) -> None:
    for name in NUMBERS:
        if name in frame.columns:
            wrong = ~frame[name].is_between(0, 1).fill_null(value=False)  # NaN is above every number
            if wrong.any():
                raise InputFault(f"{file}: row {_first(wrong)}: a score is missing, NaN or not in [0, 1]")


def _first(mask: pl.Series) -> int:
    return mask.arg_max() or 0


def _vectors(file: Path, raw: pl.DataFrame, column: str) -> Vectors:
    if column not in raw.columns:
        raise InputFault(f"{file}: has no column {column!r} of vectors; its columns are {', '.join(raw.columns)}")
    values = raw[column]
    if isinstance(values.dtype, pl.Array):
        values = values.arr.to_list()
    if not isinstance(values.dtype, pl.List) or not values.dtype.inner.is_numeric():
        raise InputFault(f"{file}: the column {column!r} holds no vectors (lists of numbers)")
    lengths = values.list.len()
    if lengths.null_count() or lengths.n_unique() > 1 or lengths[0] == 0:
        wrong = (lengths != lengths.max()).fill_null(value=True)
        raise InputFault(f"{file}: row {_first(wrong)}: its vector in {column!r} is missing or of another length")
    vectors: Vectors = values.list.to_array(lengths[0]).cast(pl.Array(pl.Float32, lengths[0])).to_numpy()
    if not np.isfinite(vectors).all():
        raise InputFault(f"{file}: a vector in {column!r} holds NaN or infinite numbers")
    return vectors
