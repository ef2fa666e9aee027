"""What a pilot leaves for people and for other programs: its rows, labels, verdicts, and what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batchroute.report.figures import json_text
from batchroute.store.files import AS_UMASK_SAYS, saving, whole_file, write_whole
from batchroute.types import SIDES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchroute.report.quality import Quality
    from batchroute.run.pilot.judge import JudgedRows
    from batchroute.store.layout import RunLayout
    from batchroute.types import Floats


def write_rows(layout: RunLayout, judged: JudgedRows, parts: Sequence[str]) -> None:
    """rows.parquet, and labels.parquet with those that were graded; `parts` [n] is "A" or "B"."""
    rows, graded = judged.rows, judged.graded
    sampled = [row.sampled for row in rows]
    grades = {"strong": graded.sides.strong, "weak": graded.sides.weak}
    columns: dict[str, pa.Array] = {
        "file": pa.array([row.prompt.file for row in sampled], pa.string()),
        "row": pa.array([row.prompt.row for row in sampled], pa.int64()),
        "id": pa.array([row.prompt.id for row in sampled], pa.string()),
        "score": pa.array([row.score for row in sampled], pa.float64()),
        "stratum": pa.array([row.stratum for row in sampled], pa.int32()),
        "part": pa.array(parts, pa.string()),
    }
    for side in SIDES:
        answers = [row.on(side) for row in rows]
        columns |= {
            f"{side}_response": pa.array([answer.response for answer in answers], pa.string()),
            f"{side}_prompt_tokens": pa.array([answer.prompt_tokens for answer in answers], pa.int64()),
            f"{side}_completion_tokens": pa.array([answer.completion_tokens for answer in answers], pa.int64()),
            f"{side}_cost_usd": pa.array([answer.cost_usd for answer in answers], pa.float64()),
            f"{side}_grade": _known(grades[side]),
        }
    graded_rows = np.flatnonzero(~np.isnan(graded.sides.strong)).tolist()
    labels = {
        "prompt": pa.array([sampled[index].text for index in graded_rows], pa.string()),
        "strong": pa.array(grades["strong"][graded_rows], pa.float64()),
        "weak": pa.array(grades["weak"][graded_rows], pa.float64()),
    }
    _write(layout.pilot_rows, pa.table(columns))
    _write(layout.labels, pa.table(labels))


def _known(grades: Floats) -> pa.Array:
    return pa.array(grades, pa.float64(), mask=np.isnan(grades))


def _write(path: Path, table: pa.Table) -> None:
    with saving(path), whole_file(path) as unfinished:
        pq.write_table(table, unfinished, compression="zstd")


def write_quality(layout: RunLayout, quality: Quality) -> None:
    """pilot.json, whole or not at all."""
    with saving(layout.pilot_quality):
        write_whole(layout.pilot_quality, json_text(quality), mode=AS_UMASK_SAYS)


class VerdictLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of verdicts.jsonl: what the judge `model` was asked about a row, said, and what was read of it."""

    file: str
    row: int
    question: str
    model: str
    prompt: msgspec.Raw
    verdict: str | None
    read: float | str | None
    tries: int
    status: str
    error: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None
    at: float


def write_verdicts(layout: RunLayout, lines: Sequence[VerdictLine]) -> None:
    """verdicts.jsonl, whole or not at all."""
    with saving(layout.verdicts):
        write_whole(layout.verdicts, b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
