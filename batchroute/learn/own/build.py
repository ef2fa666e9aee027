"""The graded rows of a pilot's part A -> which router sends the job's rows; the learnt one as a model directory.

Three stand for choice: the job's own router, one learnt from these rows, prompt length. Torch is imported where a
model is learnt. Knows no run directory: the caller says where the model goes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from batchroute.job.spec import EmbedderSpec, RouterSpec
from batchroute.learn.own.choice import choose
from batchroute.learn.own.parts import deal_folds
from batchroute.score.checkpoint import Card, read_checkpoint, write_checkpoint
from batchroute.score.embed.embedders import BUILTIN_DIMENSION, BUILTIN_IDENTITY
from batchroute.score.rater import bare_questions
from batchroute.score.router import length_scores, model_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from batchroute.learn.train.fit import Parameters
    from batchroute.quality.recovered import Recovered
    from batchroute.types import Floats

JOB, OWN, LENGTH = "job", "own", "length"
FEWEST_ROWS = 50  # of part A; fewer teach nothing, and show nothing
MOST_ROWS = 2000  # learnt from: the time grows with their cube
_SAMPLE = 3  # stream of random numbers, beside those of `parts`


@dataclass(frozen=True, slots=True)
class Learned:
    """`chosen` is JOB, OWN or LENGTH, `figures` of each on part A, the learnt one's out of fold.

    `parameters` are the learnt model's, from `rows` prompts; None where there was nothing to learn from. Fewer
    than FEWEST_ROWS leave the job's router, and no figures.
    """

    chosen: str
    figures: Mapping[str, Recovered]
    parameters: Parameters | None
    rows: int
    seed: int


def learn_router(
    texts: Sequence[str], scores: Floats, strong: Floats, weak: Floats, router: RouterSpec, seed: int
) -> Learned:
    """The choice on n rows of part A: what a router reads of each, the score of the job's `router`, both grades.

    The same for the same rows and seed. The job's router stays where nothing else is shown to be better.
    """
    if len(texts) < FEWEST_ROWS:
        return Learned(JOB, {}, None, len(texts), seed)
    kept = _some(len(texts), seed)
    texts, scores, strong, weak = [texts[row] for row in kept], scores[kept], strong[kept], weak[kept]
    candidates = {JOB: scores}
    parameters = None
    if np.ptp(strong - weak) > 0:
        from batchroute.learn.own.fit import fit_own, make_design, out_of_fold  # noqa: PLC0415 - imports torch

        design = make_design(texts, _start(router))
        candidates[OWN] = out_of_fold(design, strong - weak, deal_folds(scores, seed))
        parameters = fit_own(design, strong - weak)
    candidates[LENGTH] = length_scores(bare_questions(texts))
    chosen, figures = choose(candidates, strong, weak, seed)
    return Learned(chosen, figures, parameters, len(kept), seed)


def write_router(directory: Path, learned: Learned, router: RouterSpec) -> None:
    """The learnt model, with the names that `router`, from `own_router`, has for its sides."""
    if learned.parameters is None:
        raise ValueError("there is no learnt router to write")
    card = Card(
        models=(router.strong, router.weak),
        embedder=BUILTIN_IDENTITY,
        dimension=BUILTIN_DIMENSION,
        data=f"a pilot of {learned.rows:,} rows",
        licence="",
        seed=learned.seed,
        evaluation={"out_of_fold": {name: asdict(figures) for name, figures in learned.figures.items()}},
    )
    write_checkpoint(directory, learned.parameters.weights(), card)


def own_router(router: RouterSpec, model: Path, strong_model: str, weak_model: str) -> RouterSpec:
    """The [router] of a job that uses the model directory `model`, learnt for these models of its endpoints."""
    # two endpoints may differ in their parameters alone, and one name stands for one row of the table
    strong, weak = (strong_model, weak_model) if strong_model != weak_model else ("strong", "weak")
    changes = {"use": "mf", "model": str(model), "strong": strong, "weak": weak, "embedder": EmbedderSpec()}
    return router.model_copy(update=changes)


def length_router(router: RouterSpec) -> RouterSpec:
    """The [router] of a job that goes by prompt length."""
    return router.model_copy(update={"use": "length"})


def _some(count: int, seed: int) -> np.typing.NDArray[np.int64]:
    """Of that many rows, those that are learnt from: all, or MOST_ROWS of them at random."""
    if count <= MOST_ROWS:
        return np.arange(count)
    return np.sort(np.random.default_rng((seed, _SAMPLE)).permutation(count)[:MOST_ROWS])


def _start(router: RouterSpec) -> Floats:
    """[BUILTIN_DIMENSION] the vector of the job's model, or of ours where that has another embedder."""
    is_known = router.use == "mf" and router.embedder.use == "builtin"
    known = router if is_known else RouterSpec()
    return read_checkpoint(model_path(known)).folded(known.strong, known.weak)
