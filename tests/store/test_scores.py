from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pyarrow.parquet as pq
import pytest

from batchroute.errors import ModelFault, RunFault
from batchroute.input.split import ChunkLimits
from batchroute.job.spec import RouterSpec
from batchroute.quality.ranks import threshold_for_share
from batchroute.run.scoring import Scoring
from batchroute.score.router import load_scorer
from batchroute.store.scores import FIRST_PART_ROWS, Scores, read_scores
from inputs import lines, source
from steps import hit_at_every_step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchroute.input.open import Source
    from batchroute.score.router import Scorer
    from batchroute.types import Floats, Questions

Row: TypeAlias = tuple[str, int, float | None, str | None, int]
ROWS = 8 * FIRST_PART_ROWS
CHUNK = ChunkLimits(rows=100)


def some_input(folder: Path, rows: int = ROWS) -> Source:
    """Rows of growing length, a blank line, a refused row and one that demands a side now and then."""
    path = folder / "prompts.jsonl"
    if not path.exists():
        lines(path, *(_line(row) for row in range(rows)))
    return source(path, limits=CHUNK, route="route")


def _line(row: int) -> object:
    if row % 50 == 7:
        return b""
    if row % 50 == 8:
        return b"{torn"
    side = {"route": "strong" if row % 100 < 50 else "weak"} if row % 50 == 9 else {}
    return {"prompt": "x" * (row % 301), **side}


def length_scorer() -> Scorer:
    return load_scorer(RouterSpec(use="length"))


def score_all(of: Source, folder: Path, limit: int | None = None) -> Scores:
    folder.mkdir(exist_ok=True)
    scores = Scores(folder)
    asyncio.run(Scoring(of, scores, limit, length_scorer).run())
    return scores


def columns(scores: Scores) -> list[Row]:
    """All rows in their order; NaN as None."""
    found: list[Row] = []
    for part in scores.parts:
        rows = read_scores(part)
        files = [rows.files[code] for code in rows.file]
        values = [None if np.isnan(score) else score for score in rows.score.tolist()]
        found += list(
            zip(files, rows.row.tolist(), values, rows.forced.tolist(), rows.chars.tolist(), strict=True)
        )
    return found


def expected(of: Source, rows: int | None = None) -> list[Row]:
    found: list[Row] = []
    scorer = length_scorer()
    for chunk in of.chunks():
        questions = chunk.questions()
        values = [None if np.isnan(score) else score for score in scorer.score(questions).tolist()]
        names = [chunk.file] * len(values)
        found += list(
            zip(names, chunk.rows.tolist(), values, questions.forced, questions.chars.tolist(), strict=True)
        )
    return found[:rows]


def test_every_row_is_scored_once_in_input_order(tmp_path: Path) -> None:
    of = some_input(tmp_path)
    scores = score_all(of, tmp_path / "scores")
    assert columns(scores) == expected(of)
    assert scores.exhausted
    refused = [value for _, row, value, _, _ in columns(scores) if row % 50 == 8]
    assert refused == [None] * len(refused) != []


def test_parts_start_small_and_double_and_join_without_a_gap(tmp_path: Path) -> None:
    scores = score_all(some_input(tmp_path), tmp_path / "scores")
    sizes = [part.rows for part in scores.parts]
    for number, size in enumerate(sizes[:-1]):
        assert FIRST_PART_ROWS << number <= size < (FIRST_PART_ROWS << number) + CHUNK.rows
    assert len(sizes) >= 3
    for one, next_one in zip(scores.parts, scores.parts[1:], strict=False):
        assert one.end == next_one.start
    assert [part.last for part in scores.parts] == [False] * (len(sizes) - 1) + [True]


def test_what_is_on_disk_is_taken_up_as_it_is(tmp_path: Path) -> None:
    of = some_input(tmp_path)
    first = score_all(of, tmp_path / "scores")
    again = Scores(tmp_path / "scores")
    assert again.parts == first.parts
    assert (again.rows, again.end, again.exhausted) == (first.rows, first.end, True)

    def no_scorer() -> Scorer:
        raise AssertionError("a stored score is final")

    scoring = Scoring(of, again, None, no_scorer)
    assert scoring.complete
    asyncio.run(scoring.run())
    assert again.finished


@pytest.mark.parametrize("chunks_first", [1, 11, 30])
def test_an_interrupted_scoring_goes_on_where_it_stopped(tmp_path: Path, chunks_first: int) -> None:
    of = some_input(tmp_path)
    (tmp_path / "scores").mkdir()
    asyncio.run(_stopped_after(of, Scores(tmp_path / "scores"), chunks_first))
    between = Scores(tmp_path / "scores")
    assert 0 < between.rows < ROWS / 2
    assert not between.exhausted
    scores = score_all(of, tmp_path / "scores")
    assert columns(scores) == expected(of)
    assert scores.parts[: len(between.parts)] == between.parts


async def _stopped_after(of: Source, scores: Scores, chunks: int) -> None:
    scorer = length_scorer()

    def rate(questions: Questions) -> Floats:
        if scoring.rows >= (chunks - 1) * CHUNK.rows // 2:
            scoring.stop()
        return scorer.rate(questions)

    scoring = Scoring(of, scores, None, lambda: replace(scorer, rate=rate))
    await scoring.run()


@pytest.mark.parametrize("chunks_before", [0, 5, 13, 29])
@pytest.mark.parametrize("cause", ["fault", "cancelled"])
def test_scoring_that_cannot_go_on_keeps_what_it_has(tmp_path: Path, chunks_before: int, cause: str) -> None:
    """A router that fails on a text, or a Ctrl-C of a plan: every chunk before stands in a part."""
    of, scorer = some_input(tmp_path), length_scorer()
    (tmp_path / "scores").mkdir()
    scores, rated = Scores(tmp_path / "scores"), 0

    def rate(questions: Questions) -> Floats:
        nonlocal rated
        rated += 1
        if rated > chunks_before:
            if cause == "fault":
                raise ModelFault("no score for this one")
            loop.call_soon_threadsafe(task.cancel)
        return scorer.rate(questions)

    async def score() -> None:
        nonlocal loop, task
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(Scoring(of, scores, None, lambda: replace(scorer, rate=rate)).run())
        await task

    loop: asyncio.AbstractEventLoop
    task: asyncio.Task[None]
    with pytest.raises(ModelFault if cause == "fault" else asyncio.CancelledError):
        asyncio.run(score())
    kept = Scores(tmp_path / "scores")
    assert not kept.exhausted
    assert kept.rows == sum(len(chunk.rows) for chunk in islice(of.chunks(), chunks_before))
    assert columns(score_all(of, tmp_path / "scores")) == expected(of)


@pytest.mark.parametrize("limits", [[1], [37], [100], [37, 1500], [1500, None]])
def test_a_limit_scores_exactly_so_many_rows_and_may_grow(tmp_path: Path, limits: list[int | None]) -> None:
    of = some_input(tmp_path)
    for limit in limits:
        scores = score_all(of, tmp_path / "scores", limit)
        assert columns(scores) == expected(of, limit)


def test_an_input_without_rows_ends_in_one_empty_part(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(b"\n\n")
    scores = score_all(source(path), tmp_path / "scores")
    assert (scores.rows, len(scores.parts), scores.exhausted) == (0, 1, True)
    assert columns(scores) == []
    assert threshold_for_share(scores.free(), 0.5)[0] == float("inf")


def test_a_share_is_taken_of_rows_neither_forced_nor_refused(tmp_path: Path) -> None:
    of = some_input(tmp_path)
    scores = score_all(of, tmp_path / "scores")
    free = [value for _, _, value, forced, _ in expected(of) if value is not None and forced is None]
    assert np.concatenate(list(scores.free())).tolist() == free
    ordered = sorted(free, reverse=True)
    for share in (0.1, 0.5, 1.0):
        assert threshold_for_share(scores.free(), share)[0] == ordered[int(share * len(free) + 0.5) - 1]
    assert threshold_for_share(scores.free(), 0.0)[0] == math.nextafter(ordered[0], 1)


def test_readers_wait_for_a_part_and_learn_that_there_is_no_more(tmp_path: Path) -> None:
    asyncio.run(_read_while_scoring(some_input(tmp_path, 1300), Scores(tmp_path)))


async def _read_while_scoring(of: Source, scores: Scores) -> None:
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        waiting = group.create_task(scores.part(0))
        beyond = group.create_task(scores.part(99))
        await asyncio.sleep(0)
        assert not waiting.done()
        await Scoring(of, scores, None, length_scorer).run()
        assert await waiting == scores.parts[0]
        assert await beyond is None


@pytest.mark.parametrize("content", [b"", b"PAR1 no more"])
def test_a_spoiled_part_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "part-00000.parquet").write_bytes(content)
    with pytest.raises(RunFault, match=r"part-00000\.parquet: not a file of scores"):
        Scores(tmp_path)


def test_a_part_of_someone_elses_is_named(tmp_path: Path) -> None:
    scores = score_all(some_input(tmp_path, 20), tmp_path / "scores")
    pq.write_table(pq.read_table(scores.parts[0].path).replace_schema_metadata(None), scores.parts[0].path)
    with pytest.raises(RunFault, match="not a file of scores"):
        Scores(tmp_path / "scores")


def three_parts(directory: Path) -> Iterator[None]:
    of = some_input(directory, 3 * FIRST_PART_ROWS + 500)
    (directory / "scores").mkdir()
    yield
    score_all(of, directory / "scores")


def test_whatever_step_scoring_dies_at_it_goes_on_to_the_same_scores(tmp_path: Path) -> None:
    hits = hit_at_every_step("test_scores:three_parts", "kill", tmp_path)
    assert len(hits) >= 4
    for hit in hits:
        of = source(hit.directory / "prompts.jsonl", limits=CHUNK, route="route")
        assert columns(score_all(of, hit.directory / "scores")) == expected(of), hit
