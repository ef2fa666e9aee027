"""The scores of a run with shards, by shard, as one look into their folder finds them.

A run of ten thousand shards has some fifty thousand parts there: who asks for all shards looks once, not for each.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchroute.store.layout import shard_of
from batchroute.store.scores import read_footer

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from batchroute.store.layout import RunLayout
    from batchroute.store.scores import ScorePart


def scores_by_shard(run: RunLayout, of: Container[int] | None = None) -> dict[int, list[ScorePart]]:
    """The parts of each shard that has some, in input order; `of` which shards, None: of all."""
    found: dict[int, list[ScorePart]] = {}
    for path in run.score_parts():
        if of is None or shard_of(path) in of:
            parts = found.setdefault(shard_of(path), [])
            parts.append(read_footer(len(parts), path))
    return found


def is_whole(parts: Sequence[ScorePart], limit: int | None) -> bool:
    """Whether these parts of a shard have all its rows, or as many as are wanted of it."""
    enough = limit is not None and sum(part.rows for part in parts) >= limit
    return enough or (bool(parts) and parts[-1].last)


def joined_parts(found: Mapping[int, Sequence[ScorePart]], shards: Iterable[int]) -> list[ScorePart]:
    """The parts of these shards one behind the other, as if of one input."""
    parts = [part for shard in shards for part in found.get(shard, ())]
    return [replace(part, number=number) for number, part in enumerate(parts)]


def leading_parts(run: RunLayout) -> list[ScorePart]:
    """The scores of the run's first rows, up to the first that has none yet."""
    found = scores_by_shard(run)
    shards: list[int] = []
    while (shard := len(shards)) in found:
        shards.append(shard)
        if not found[shard][-1].last:
            break
    return joined_parts(found, shards)
