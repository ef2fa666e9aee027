"""What a pilot leaves for people and for other programs: its rows, labels, verdicts, and what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batchroute.learn.own.parts import PROMISED
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


def write_rows(layout: RunLayout, judged: JudgedRows, scores: Floats, parts: Sequence[str]) -> None:
    """rows.parquet, and labels.parquet with those that were graded.

    [n] `scores` are those of the router in use, `parts` as in learn/own/parts.
    """
    strata = [row.sampled.stratum for row in judged.rows]
    places = {
        **_places(judged, scores),
        "stratum": pa.array(strata, pa.int32()),
        "part": pa.array(parts, pa.string()),
    }
    _write(layout.pilot_rows, pa.table({**places, **_answers(judged)}))
    strong, weak = judged.graded.sides.strong, judged.graded.sides.weak
    graded = np.flatnonzero(~np.isnan(strong))
    labels = {
        "prompt": pa.array([judged.rows[index].sampled.text for index in graded.tolist()], pa.string()),
        "strong": pa.array(strong[graded], pa.float64()),
        "weak": pa.array(weak[graded], pa.float64()),
    }
    _write(layout.labels, pa.table(labels))


def write_watched(layout: RunLayout, judged: JudgedRows, routes: Sequence[str]) -> None:
    """watch.parquet: the same of the watched rows, with the route that each took."""
    scores = np.array([row.sampled.score for row in judged.rows], np.float64)
    places = {**_places(judged, scores), "route": pa.array(routes, pa.string())}
    _write(layout.watched_rows, pa.table({**places, **_answers(judged)}))


def read_grades(path: Path) -> tuple[Floats, Floats, Floats]:
    """[n] score, strong grade and weak grade of the graded rows in such a file."""
    table = pq.read_table(path, columns=["score", "strong_grade", "weak_grade"])
    known = table.filter(pc.is_valid(table["strong_grade"]))
    score, strong, weak = (known[name].to_numpy() for name in table.column_names)
    return score, strong, weak


def promised_rows(layout: RunLayout) -> pa.Table:
    """The graded rows that a promise is made on: columns of rows.parquet."""
    rows = pq.read_table(layout.pilot_rows)
    return rows.filter(pc.and_(pc.is_valid(rows["strong_grade"]), pc.equal(rows["part"], PROMISED)))


def _places(judged: JudgedRows, scores: Floats) -> dict[str, pa.Array]:
    prompts = [row.sampled.prompt for row in judged.rows]
    return {
        "file": pa.array([prompt.file for prompt in prompts], pa.string()),
        "row": pa.array([prompt.row for prompt in prompts], pa.int64()),
        "id": pa.array([prompt.id for prompt in prompts], pa.string()),
        "score": pa.array(scores, pa.float64()),
    }


def _answers(judged: JudgedRows) -> dict[str, pa.Array]:
    columns: dict[str, pa.Array] = {}
    grades = {"strong": judged.graded.sides.strong, "weak": judged.graded.sides.weak}
    for side in SIDES:
        answers = [row.on(side) for row in judged.rows]
        columns |= {
            f"{side}_response": pa.array([answer.response for answer in answers], pa.string()),
            f"{side}_prompt_tokens": pa.array([answer.prompt_tokens for answer in answers], pa.int64()),
            f"{side}_completion_tokens": pa.array([answer.completion_tokens for answer in answers], pa.int64()),
            f"{side}_cost_usd": pa.array([answer.cost_usd for answer in answers], pa.float64()),
            f"{side}_grade": _known(grades[side]),
        }
    return columns


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
    """One line of verdicts.jsonl: what the judge `model` was asked about a row, what it said, and what was read.

    `read` is the grade of one answer, or the answer of two that is preferred; None: it cannot be read.
    """

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
