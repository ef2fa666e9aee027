"""Which routers are compared, and how they score the labelled prompts: through the same scorer that a job uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchroute.errors import UsageFault
from batchroute.job.spec import EmbedderSpec
from batchroute.score.checkpoint import read_checkpoint
from batchroute.score.embed.fold import identity
from batchroute.score.questions import bare_questions
from batchroute.score.router import load_scorer, model_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchroute.job.spec import RouterSpec
    from batchroute.learn.labels.sides import Labels
    from batchroute.types import Floats

BASELINES = ("random", "length", "oracle")


@dataclass(frozen=True, slots=True)
class Rival:
    """A router to be compared: its name in the figures, and what a job would say of it."""

    name: str
    spec: RouterSpec


def find_rivals(
    routers: Sequence[str], models: Sequence[Path], router: RouterSpec, strong: str, weak: str
) -> list[Rival]:
    """The routers named and those in model directories, each with the settings of `router`; without any, `router`.

    A model is asked for the two models of the labels where its table has them, else for the pair that `router`
    names, else, where it has two, for those. UsageFault for a name that stands twice.
    """
    specs = [(use, router.model_copy(update={"use": use})) for use in routers]
    specs += [
        (path.resolve().name, router.model_copy(update={"use": "mf", "model": str(path)})) for path in models
    ]
    rivals = [Rival(name, _for_pair(spec, strong, weak)) for name, spec in specs or [(router.use, router)]]
    rivals = [rival for rival in rivals if rival.name != "length"]  # a baseline, and in any case there
    names = [rival.name for rival in rivals]
    twice = next((name for name in names if names.count(name) > 1 or name == "oracle"), None)
    if twice is not None:
        raise UsageFault(f"two routers would be called {twice!r}; rename one model's directory")
    return [
        Rival(f"random:{rival.spec.seed}" if rival.name == "random" else rival.name, rival.spec)
        for rival in rivals
    ]


def score_labels(spec: RouterSpec, labels: Labels) -> Floats:
    """[n] scores of the labelled prompts; ModelFault where the router will not do."""
    return load_scorer(spec).score(bare_questions(labels.prompts, labels.vectors))


def _for_pair(spec: RouterSpec, strong: str, weak: str) -> RouterSpec:
    if spec.use != "mf":
        return spec
    model = read_checkpoint(model_path(spec))
    changes: dict[str, object] = {}
    # a table with both models of the labels is asked for these two; a table of two other models for its own two,
    # unless they are what [router] names
    if {strong, weak} <= set(model.names):
        changes |= {"strong": strong, "weak": weak}
    elif len(model.names) == 2 and not {spec.strong, spec.weak} <= set(model.names):
        changes |= dict(zip(("strong", "weak"), model.names, strict=True))
    if model.embedder == identity(EmbedderSpec()):
        # beside a model of another embedder, for which [router.embedder] then stands
        changes["embedder"] = EmbedderSpec()
    return spec.model_copy(update=changes)
