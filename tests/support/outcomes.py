"""Outcome tables, both sides' grades known for every row, and jobs drawn from them again and again.

A table stands for a job: its true quality at every threshold is known, so that a promise can be seen to be broken.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batchroute.quality import promise
from batchroute.quality.graded import Graded
from batchroute.quality.shares import SHARES, JobScores

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchroute.quality.bound import Ints
    from batchroute.types import Floats

    Random = np.random.Generator

ROWS = 5000


@dataclass(frozen=True, slots=True)
class Table:
    strong: Floats
    weak: Floats


def _right(random: Random, chance: Floats | float) -> Floats:
    return (random.random(ROWS) < chance).astype(np.float64)


def _separate(random: Random) -> Table:
    """Right and wrong independently of each other; the weak side a little below 95 %."""
    return Table(_right(random, 0.85), _right(random, 0.8))


def _knowing(random: Random) -> Table:
    """What is hard for one is hard for the other."""
    hard = random.random(ROWS)
    return Table(_right(random, 0.98 - 0.35 * hard), _right(random, 0.96 - 0.6 * hard))


def _border(random: Random) -> Table:
    """The weak side keeps 94.9 % everywhere: no score helps, and nothing but chance passes."""
    strong = _right(random, 0.9)
    return Table(strong, strong * _right(random, 0.949))


def _rare(random: Random) -> Table:
    """As good but for a tenth of the rows, of which the weak side loses most."""
    return Table(np.ones(ROWS), _right(random, np.where(np.arange(ROWS) % 10 == 3, 0.35, 1.0)))


def _one_in_a_hundred(random: Random) -> Table:
    return Table(np.ones(ROWS), _right(random, 0.985))


def _equal(random: Random) -> Table:
    strong = _right(random, 0.7)
    return Table(strong, strong.copy())


def _better(random: Random) -> Table:
    return Table(_right(random, 0.7), _right(random, 0.78))


def _points(random: Random) -> Table:
    """A judge's points, 1 to 10: small differences, many ties."""
    level = random.normal(8, 1.5, ROWS)
    points = [np.clip(np.round(level - less + random.normal(0, 1, ROWS)), 1, 10) / 10 for less in (0, 0.6)]
    return Table(points[0], points[1])


def _preferences(random: Random) -> Table:
    """A judge's preferences: the strong side's grade is always one half."""
    return Table(np.full(ROWS, 0.5), random.choice([0.0, 0.5, 1.0], ROWS, p=[0.3, 0.45, 0.25]))


def _poor(random: Random) -> Table:
    """Both sides mostly fail."""
    return Table(_right(random, 0.06), _right(random, 0.05))


def _nothing(random: Random) -> Table:
    return Table(np.zeros(ROWS), np.zeros(ROWS))


TABLES: dict[str, Callable[[Random], Table]] = {
    each.__name__.strip("_").replace("_", " "): each
    for each in (
        _separate, _knowing, _border, _rare, _one_in_a_hundred, _equal, _better, _points, _preferences, _poor,
        _nothing,
    )
}  # fmt: skip


def _noisy(random: Random, table: Table, part: float) -> Floats:
    return part * (table.strong - table.weak) + random.normal(0, 0.6, len(table.strong))


SCORES: dict[str, Callable[[Random, Table], Floats]] = {
    "good": lambda random, table: _noisy(random, table, 1),
    "weakly good": lambda random, table: _noisy(random, table, 0.2),
    "useless": lambda random, table: random.random(len(table.strong)),
    "adversarial": lambda random, table: _noisy(random, table, -1),
    "perfect": lambda random, table: table.strong - table.weak + random.random(len(table.strong)) / 1000,
    "constant": lambda _, table: np.full(len(table.strong), 0.4),
    "five values": lambda random, table: np.round(_noisy(random, table, 1) * 1.5).clip(-2, 2),
    "two values": lambda random, table: (_noisy(random, table, 1) > 0.7).astype(np.float64),
    "length": lambda random, table: np.round(np.exp(random.normal(6, 1, len(table.strong)))),
}


def made(table: str, scores: str) -> tuple[Table, Floats]:
    random = np.random.default_rng(zlib.crc32(f"{table}/{scores}".encode()))
    made = TABLES[table](random)
    return made, SCORES[scores](random, made)


def stratified(scores: Floats, rows: int, random: Random) -> Ints:
    """The same number from each tenth of the scores, in the order of the scores."""
    tenths = np.array_split(np.lexsort((random.random(len(scores)), scores)), 10)
    sizes = rows // 10 + (random.permutation(10) < rows % 10)
    return np.concatenate(
        [random.choice(tenth, size, replace=False) for tenth, size in zip(tenths, sizes, strict=True)]
    )


def simple(scores: Floats, rows: int, random: Random) -> Ints:
    return random.choice(len(scores), rows, replace=False)


def with_replacement(scores: Floats, rows: int, random: Random) -> Ints:
    return random.integers(0, len(scores), rows)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of jobs drawn again: in what part of them less than the target was kept, and the mean share saved.

    The same for the choice of the least share whose estimate passes; `best` is the share saved by full knowledge.
    """

    broken: float
    saved: float
    all_weak: float
    plug_in_broken: float
    plug_in_saved: float
    best: float


def resample(
    table: Table,
    scores: Floats,
    *,
    quality: float,
    rows: int,
    confidence: float = 0.9,
    jobs: int = 1000,
    draw: Callable[[Floats, int, Random], Ints] = stratified,
    known_job: bool = True,
    seed: int = 0,
) -> Outcome:
    job = JobScores.of(scores)
    truth = [_kept(table, scores, threshold) for threshold in job.thresholds]
    saved = 1 - job.strong_shares
    chosen, plug_in = [], []
    random = np.random.default_rng(seed)
    for _ in range(jobs):
        drawn = draw(scores, rows, random)
        sample = Graded.checked(scores[drawn], table.strong[drawn], table.weak[drawn])
        shares, ways = sample.routings(scores if known_job else None)
        passes, _ = promise._in_sequence(promise._shown(ways, quality, 1 - confidence), shares)
        last = max(place for place, passed in enumerate(passes) if passed)
        estimates = ways.routed.mean(axis=1) / max(ways.strong.mean(), 1e-9)
        guess = max(place for place in range(len(SHARES)) if place == 0 or estimates[place] >= quality)
        for choice, place in ((chosen, last), (plug_in, guess)):
            threshold = shares.thresholds[place]
            choice.append((_kept(table, scores, threshold), (scores < threshold).mean()))
    kept, share = np.array(chosen).T
    plug_kept, plug_share = np.array(plug_in).T
    return Outcome(
        broken=float((kept < quality - 1e-9).mean()),
        saved=float(share.mean()),
        all_weak=float((share == 1).mean()),
        plug_in_broken=float((plug_kept < quality - 1e-9).mean()),
        plug_in_saved=float(plug_share.mean()),
        best=float(max(part for part, true in zip(saved, truth, strict=True) if true >= quality - 1e-9)),
    )


def _kept(table: Table, scores: Floats, threshold: float) -> float:
    strong = table.strong.mean()
    if strong == 0:
        return 1.0
    return float(np.where(scores >= threshold, table.strong, table.weak).mean() / strong)
