"""Which router a job's rows are routed by: its own choice, one learnt from the pilot, or prompt length.

What is learnt, and when it is better, is decided in learn/own; here it meets the run: its scores, its directory.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np

from batchroute.job.pilot import LEARNS_FROM_ROWS
from batchroute.learn.own.build import (
    LENGTH,
    OWN,
    learn_router,
    length_router,
    own_router,
    write_router,
)
from batchroute.run.scoring import Scoring, scorer_loader
from batchroute.score.rater import bare_questions
from batchroute.score.router import LoadedFrom, load_scorer
from batchroute.store.files import saving
from batchroute.store.scores import Scores, read_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchroute.input.open import Source
    from batchroute.job.pilot import PilotSpec
    from batchroute.job.spec import Job, RouterSpec
    from batchroute.quality.bound import Ints
    from batchroute.run.pilot.decide import Measured
    from batchroute.store.layout import RunLayout
    from batchroute.store.scores import ScorePart
    from batchroute.types import Floats


def router_named(name: str | None, job: Job, layout: RunLayout) -> RouterSpec:
    """The [router] that routes the rows; `name` as a directory's identity has it, None for the job's own."""
    if name == OWN:
        return own_router(job.router, layout.own_router, job.endpoints.strong.model, job.endpoints.weak.model)
    return length_router(job.router) if name == LENGTH else job.router


def learns(pilot: PilotSpec, rows: int) -> bool:
    """Whether a router is to be learnt when so many rows have been asked."""
    return rows >= LEARNS_FROM_ROWS if pilot.learn == "auto" else pilot.learn


def learn(job: Job, layout: RunLayout, part_a: Measured, seed: int) -> str:
    """Learns from part A, leaves what was learnt in pilot/model, and says which router routes."""
    learned = learn_router(part_a.texts, part_a.scores, part_a.strong, part_a.weak, job.router, seed)
    if learned.parameters is not None:
        with saving(layout.pilot):
            write_router(layout.own_router, learned, router_named(OWN, job, layout))
    return learned.chosen


async def score_again(name: str, job: Job, layout: RunLayout, source: Source, limit: int | None) -> Scores:
    """The whole input by another router than the job's, in a folder of its own, until it takes over."""
    with saving(layout.other_scores):
        shutil.rmtree(layout.other_scores, ignore_errors=True)
        layout.other_scores.mkdir(mode=int(job.output.mode, 8))
    scores = Scores(layout.other_scores)
    router = router_named(name, job, layout)
    scoring = Scoring(source, scores, limit, scorer_loader(router), loaded_from=LoadedFrom(router))
    await scoring.run(parallel=True)
    return scores


def identity_of_scores(name: str, job: Job, layout: RunLayout) -> str:
    """What tells the router's scores from those of every other."""
    return load_scorer(router_named(name, job, layout)).identity


def scores_at(parts: Sequence[ScorePart], places: Ints) -> Floats:
    """[n] the scores of the rows at these places of the whole input."""
    found = np.full(len(places), np.nan)
    first = 0
    for part in parts:
        here = (places >= first) & (places < first + part.rows)
        if here.any():
            found[here] = read_scores(part).score[places[here] - first]
        first += part.rows
    return found


def other_scores(router: str, job: Job, layout: RunLayout, texts: Sequence[str]) -> dict[str, Floats]:
    """[n] what the learnt router says of n texts, where there is one and another routes."""
    if router == OWN or not len(texts) or not layout.own_router.exists():
        return {}
    return {OWN: load_scorer(router_named(OWN, job, layout)).score(bare_questions(texts))}
