"""The scores of a run with shards: of each shard alone, of some together, and how far they reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchroute.store.shard_scores import is_whole, joined_parts, leading_parts, scores_by_shard
from shardings import ROWS_A_SHARD, score, sharded, shards_of, write_input

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchroute.store.layout import RunLayout


def scored(folder: Path, shards: Sequence[int], *, last: bool = True) -> RunLayout:
    """The run, in which these shards have scores; of the last one named not all, unless `last`."""
    write_input(folder)
    with sharded(folder) as directory:
        for number in shards:
            of = directory.open(shards_of(folder)[number])
            score(folder, of, shards_of(folder)[number], last=last or number != shards[-1])
            directory.close(of, rows=None)
        return directory.layout


def test_parts_of_shards_are_those_of_one_input(tmp_path: Path) -> None:
    found = scores_by_shard(scored(tmp_path, [2, 0]))
    assert [(part.number, part.start.row, part.end.row) for part in joined_parts(found, [0, 1, 2])] == [
        (0, 0, 4),
        (1, 8, 12),
    ]
    assert list(scores_by_shard(scored(tmp_path, []), {2})) == [2]


@pytest.mark.parametrize(
    ("limit", "last", "whole"),
    [(None, True, True), (None, False, False), (ROWS_A_SHARD, False, True), (ROWS_A_SHARD + 1, False, False)],
)
def test_a_shard_is_whole_where_its_end_or_its_limit_is_scored(
    tmp_path: Path, limit: int | None, last: bool, whole: bool
) -> None:
    found = scores_by_shard(scored(tmp_path, [1], last=last))
    assert is_whole(found[1], limit) is whole
    assert not is_whole([], limit)


@pytest.mark.parametrize(
    ("shards", "last", "rows"),
    [([], True, 0), ([1, 2], True, 0), ([0, 2], True, 4), ([0, 1], True, 8), ([2, 1, 0], False, 4)],
)
def test_the_first_rows_reach_to_the_first_gap(tmp_path: Path, shards: list[int], last: bool, rows: int) -> None:
    assert sum(part.rows for part in leading_parts(scored(tmp_path, shards, last=last))) == rows
