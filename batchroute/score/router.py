"""Prompts -> scores in [0, 1]: the routers of a job, behind one `Scorer`.

Knows models and embedders, and leaves torch to `mf`; nothing of input files, thresholds or requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from batchroute.errors import ModelFault
from batchroute.score.checkpoint import read_checkpoint
from batchroute.score.embed.embedders import check_embedder, identity, import_class, numbers_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchroute.job.spec import RouterSpec
    from batchroute.score.checkpoint import Checkpoint
    from batchroute.types import Floats, Questions, Router

# The first scores new runs; a run that another began goes on with that one, as scores of two models do not mix.
BUILTIN_MODELS = ("builtin-router-3", "builtin-router-2")
HALF_LENGTH_CHARS = 500
FRACTION_BITS = 53  # random bits that a double in [0, 1) can hold


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores questions batch by batch; holds no state, so any thread may call it.

    `identity` names what the scores depend on, the same on every machine; a run directory holds scores of one
    identity only. Questions must have vectors of `vector_length` numbers, unless that is None. `quick`: a short
    text takes it less than a millisecond. `parallel`: other processes may load the same and score a part.
    """

    identity: str
    rate: Callable[[Questions], Floats]
    batch_size: int
    vector_length: int | None = None
    quick: bool = False
    parallel: bool = False

    def score(self, questions: Questions) -> Floats:
        """[n] float64 in [0, 1]; NaN where a question is refused. ModelFault for scores that are none."""
        if not questions.texts:
            return np.empty(0)
        return np.concatenate([self._score_batch(batch) for batch in questions.batches(self.batch_size)])

    def _score_batch(self, questions: Questions) -> Floats:
        scores = np.where(questions.refused, np.nan, self.rate(questions))
        wrong = ~questions.refused & ~((scores >= 0) & (scores <= 1))
        if wrong.any():
            text = questions.texts[int(wrong.argmax())]
            raise ModelFault(f"{self.identity}: a score is not in [0, 1] for the prompt beginning {text[:60]!r}")
        return scores


def check_router(router: RouterSpec) -> None:
    """ModelFault where `load_scorer` would raise one, as far as files, names and imports tell.

    Of an mf router nothing is loaded, and torch is imported only to look for the GPU that it names.
    """
    if router.use != "mf":
        load_scorer(router)
        return
    _folded(router, model_path(router))
    if router.device not in {"auto", "cpu"}:
        from batchroute.score.mf import resolve_device  # noqa: PLC0415 - imports torch

        resolve_device(router.device)


@dataclass(frozen=True, slots=True)
class LoadedFrom:
    """What `load_scorer` is given, by whatever process."""

    router: RouterSpec
    begun_with: str | None = None


def load_scorer(router: RouterSpec, begun_with: str | None = None) -> Scorer:
    """The scorer of a job's [router]; ModelFault when the model, the embedder or the device will not do.

    `begun_with` is the identity of what scored the first rows of a run: where that was a built-in model of an
    earlier version, it is the one that is loaded.
    """
    if router.use == "mf":
        return _matrix_factorisation(router, begun_with)
    if router.use == "random":
        return Scorer(f"random:{router.seed}", partial(random_scores, router.seed), router.batch_size)
    if router.use == "length":
        return Scorer("length", length_scores, router.batch_size)
    if ":" in router.use:
        custom = partial(custom_scores, router.use, import_class(router.use, "score"))
        return Scorer(router.use, custom, router.batch_size)
    raise ModelFault(f"no router is named {router.use!r}; use mf, random, length or package.module:Class")


def random_scores(seed: int, questions: Questions) -> Floats:
    """Uniform scores drawn from the seed and the text, so that neither batches nor a resume change them."""
    key = str(seed).encode()
    # a generator would give a text another score in another place, and a resumed run another split
    digests = (
        blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest() for text in questions.texts
    )
    bits = np.frombuffer(b"".join(digests), "<u8") >> np.uint64(64 - FRACTION_BITS)
    scores: Floats = bits / 2.0**FRACTION_BITS
    return scores


def custom_scores(use: str, router: Router, questions: Questions) -> Floats:
    """What an object of the user's class `use` says of the texts."""
    scores = numbers_in(router.score(questions.texts), f"{use}: `score`").astype(np.float64)
    if scores.shape != (len(questions.texts),):
        shape, prompts = list(scores.shape), len(questions.texts)
        raise ModelFault(f"{use}: `score` gave an array of shape {shape} for {prompts} prompts")
    return scores


def length_scores(questions: Questions) -> Floats:
    """Grows with the characters of the text, one half at `HALF_LENGTH_CHARS`."""
    chars = np.fromiter(map(len, questions.texts), np.float64, len(questions.texts))
    return chars / (chars + HALF_LENGTH_CHARS)


def model_path(router: RouterSpec) -> Path:
    """Where the model of an mf router lies; `builtin` are the weights that ship in the package."""
    if router.model == "builtin":
        return _shipped(BUILTIN_MODELS[0])
    return Path(router.model)


def _shipped(name: str) -> Path:
    return Path(str(resources.files("batchroute.score"))) / "models" / name


@dataclass(frozen=True, slots=True)
class _Folded:
    """An mf router as its files tell; `vector` [text_dim] is what its embedder is multiplied with."""

    vector: Floats
    identity: str


def _model_of_run(router: RouterSpec, begun_with: str | None) -> _Folded:
    """The router's model, or the earlier built-in one whose identity `begun_with` is."""
    newest = _folded(router, model_path(router))
    if not router.is_builtin or begun_with in {None, newest.identity}:
        return newest
    earlier = (_folded(router, _shipped(name)) for name in BUILTIN_MODELS[1:])
    return next((model for model in earlier if model.identity == begun_with), newest)


def _folded(router: RouterSpec, path: Path) -> _Folded:
    model = read_checkpoint(path)
    embedder = identity(router.embedder)
    _check_identity(model, embedder)
    vector = model.folded(router.strong, router.weak)
    check_embedder(router.embedder, len(vector))
    return _Folded(vector, f"mf:{model.digest}:{router.strong}>{router.weak}:{embedder}")


def _matrix_factorisation(router: RouterSpec, begun_with: str | None) -> Scorer:
    from batchroute.score.mf import fold_router, resolve_device  # noqa: PLC0415 - imports torch

    folded, device = _model_of_run(router, begun_with), resolve_device(router.device)
    builtin_on_cpu = router.embedder.use == "builtin" and device.type == "cpu"
    return Scorer(
        identity=folded.identity,
        rate=fold_router(router.embedder, folded.vector, device),
        batch_size=router.batch_size,
        vector_length=len(folded.vector) if router.embedder.use in {"column", "openai"} else None,
        quick=builtin_on_cpu,
        parallel=builtin_on_cpu,
    )


def _check_identity(model: Checkpoint, embedder: str) -> None:
    """Vectors of a column may come from anywhere: there only their dimension can be checked."""
    if model.embedder is None or "column" in (model.embedder, embedder):
        return
    if model.embedder != embedder:
        raise ModelFault(
            f"{model.path}: the model was trained on the embedder {model.embedder!r}, "
            f"but [router.embedder] is {embedder!r}"
        )
