"""Labels and the routers to compare -> figures. The routers score as a job's do: through the same scorer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from batchroute.errors import UsageFault
from batchroute.job.spec import EmbedderSpec
from batchroute.learn.evaluate.figures import Evaluation, RouterFigures, is_control, verdict
from batchroute.learn.evaluate.offers import make_offer, price_calls
from batchroute.learn.labels.files import read_label_file
from batchroute.learn.labels.sides import choose_sides, side_labels
from batchroute.quality.curves import (
    ALL,
    DRAWS,
    SHARES,
    coarse_apgr,
    draw_figures,
    draws,
    interval,
    quality_curve,
    random_scores,
    share_reaching,
)
from batchroute.quality.recovered import has_gap, known_apgr, recovered
from batchroute.score.checkpoint import read_checkpoint
from batchroute.score.embed.embedders import identity
from batchroute.score.rater import bare_questions
from batchroute.score.router import load_scorer, model_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from batchroute.job.spec import RouterSpec
    from batchroute.learn.labels.sides import Labels
    from batchroute.quality.curves import Domain, DrawnFigures, Rows
    from batchroute.types import Floats


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
    rivals = [rival for rival in rivals if rival.name != "length"]  # a control, and in any case there
    names = [rival.name for rival in rivals]
    twice = next((name for name in names if names.count(name) > 1 or name == "oracle"), None)
    if twice is not None:
        raise UsageFault(f"two routers would be called {twice!r}; rename one model's directory")
    return [
        Rival(f"random:{rival.spec.seed}" if rival.name == "random" else rival.name, rival.spec)
        for rival in rivals
    ]


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


def compare_routers(
    files: Sequence[Path],
    router: RouterSpec,
    routers: Sequence[str] = (),
    models: Sequence[Path] = (),
    *,
    strong: str | None = None,
    weak: str | None = None,
    seed: int = 0,
) -> Evaluation:
    """The `evaluate` command: the routers named and those in model directories, with the settings of `router`.

    Without any it is `router` itself. UsageFault for labels, models or routers that will not do.
    """
    column = router.embedder.column if router.embedder.use == "column" else None
    labels = [read_label_file(file, column) for file in files]
    strong, weak = choose_sides(labels, strong, weak)
    rivals = find_rivals(routers, models, router, strong, weak)
    return evaluate_labels(side_labels(labels, strong, weak), strong, weak, rivals, seed)


def evaluate_labels(
    labels: Labels,
    strong_model: str,
    weak_model: str,
    rivals: Sequence[Rival],
    seed: int = 0,
    draw_count: int = DRAWS,
) -> Evaluation:
    """Scores the prompts with every rival and sets them beside the controls and an oracle.

    The controls: `random`, the mean of as many random routers, and `length`, the characters of the prompt. `seed`
    is that of the random routers and of the draws behind the intervals. ModelFault where a router will not do.
    """
    count = len(labels.prompts)
    questions = bare_questions(labels.prompts, labels.vectors)
    scores = {rival.name: load_scorer(rival.spec).score(questions) for rival in rivals}
    length = np.fromiter(map(len, labels.prompts), np.float64, count)
    scores |= {"random": random_scores(count, seed), "length": length, "oracle": labels.gain}
    domains: dict[Domain, Rows] = {ALL: np.arange(count)}
    domains |= {name: np.flatnonzero(np.array(labels.domains) == name) for name in sorted(set(labels.domains))}
    drawn = draw_figures(scores, labels.gain, labels.weak, domains, draws(count, seed, draw_count))
    calls = price_calls(labels.prompts, strong_model, weak_model)
    is_better = has_gap(labels.strong, labels.weak)
    judged = [rival.name for rival in rivals if is_better and not is_control(rival.name)]
    offers = [make_offer(name, scores[name], labels, drawn, calls) for name in judged]
    evaluation = Evaluation(
        rows=count,
        strong=float(labels.strong.mean()),
        weak=float(labels.weak.mean()),
        strong_model=strong_model,
        weak_model=weak_model,
        gap_ci=interval(drawn.gap) or (float("nan"), float("nan")),
        domains={
            name: (len(rows), float(labels.strong[rows].mean()), float(labels.weak[rows].mean()))
            for name, rows in domains.items()
            if name is not ALL
        },
        routers={name: _figures(name, scores, labels, domains, drawn) for name in scores},
        offers=offers,
        prices=calls.basis,
        verdict="",
    )
    return replace(evaluation, verdict=verdict(evaluation))


def _figures(
    name: str,
    scores: Mapping[str, Floats],
    labels: Labels,
    domains: Mapping[Domain, Rows],
    drawn: DrawnFigures,
) -> RouterFigures:
    strong, weak = labels.strong, labels.weak
    curve = np.mean([quality_curve(each, strong, weak, SHARES) for each in np.atleast_2d(scores[name])], axis=0)
    overall = recovered(scores[name], strong, weak, drawn.apgr[name, ALL])
    length = recovered(scores["length"], strong, weak, drawn.apgr["length", ALL])
    over_length, over_length_ci = None, None
    if overall.apgr is not None and length.apgr is not None and name != "length":
        over_length = overall.apgr - length.apgr
        over_length_ci = interval(drawn.apgr[name, ALL] - drawn.apgr["length", ALL])
    is_better = overall.apgr is not None
    cpt20, cpt50, cpt80 = (_cpt(curve, labels, part) if is_better else None for part in (0.2, 0.5, 0.8))
    return RouterFigures(
        apgr=overall.apgr,
        apgr_ci=overall.apgr_ci,
        apgr10=known_apgr(scores[name], strong, weak, coarse_apgr),
        cpt20=cpt20,
        cpt50=cpt50,
        cpt80=cpt80,
        auc=float(np.trapezoid(curve, SHARES)),
        domains={
            domain: recovered(scores[name][..., rows], strong[rows], weak[rows], drawn.apgr[name, domain])
            for domain, rows in domains.items()
            if domain is not ALL
        },
        curve=list(zip((100 * SHARES).tolist(), curve.tolist(), strict=True)),
        over_length=over_length,
        over_length_ci=over_length_ci,
    )


def _cpt(curve: Floats, labels: Labels, part: float) -> float:
    """The percentage of strong calls at which a part of the gap is recovered."""
    return 100 * share_reaching(curve, float(curve[0]) + part * float(labels.gain.mean()), SHARES)
