"""Labels and rivals -> figures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from batchroute.learn.evaluate.bootstrap import DRAWS, drawn_apgr, drawn_curves, draws, interval, rank
from batchroute.learn.evaluate.figures import DomainFigures, Evaluation, RouterFigures
from batchroute.learn.evaluate.metrics import FINE_GRID, apgr, coarse_apgr, quality_curve, share_reaching
from batchroute.learn.evaluate.offers import Course, make_offer, price_calls
from batchroute.learn.evaluate.rivals import find_rivals, score_labels
from batchroute.learn.evaluate.verdict import verdict
from batchroute.learn.labels.files import read_label_file
from batchroute.learn.labels.sides import choose_sides, side_labels

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from batchroute.job.spec import RouterSpec
    from batchroute.learn.evaluate.bootstrap import Counts
    from batchroute.learn.evaluate.figures import Offer
    from batchroute.learn.evaluate.rivals import Rival
    from batchroute.learn.labels.sides import Labels
    from batchroute.types import Floats

    Rows = NDArray[np.int64]

SHARES = np.linspace(0, 1, FINE_GRID + 1)
ALL = None  # the domain of all prompts


@dataclass(frozen=True, slots=True)
class Drawn:
    """Figures of every draw: APGR by router and domain, each router's mean gain over SHARES, all-weak, the gap."""

    apgr: dict[tuple[str, str | None], Floats]
    gain: dict[str, Floats]
    weak: Floats
    gap: Floats


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
    """Scores the prompts with every rival and sets them beside chance, prompt length and an oracle.

    Chance is exact, a constant score; length is the characters of the prompt. `seed` is that of the draws behind
    the intervals. ModelFault where a router will not do.
    """
    scores = {rival.name: score_labels(rival.spec, labels) for rival in rivals}
    length = np.fromiter(map(len, labels.prompts), np.float64, len(labels.prompts))
    scores |= {"random": np.full(len(length), 0.5), "length": length, "oracle": labels.gain}
    domains: dict[str | None, Rows] = {ALL: np.arange(len(length))}
    domains |= {name: np.flatnonzero(np.array(labels.domains) == name) for name in sorted(set(labels.domains))}
    drawn = _draw(labels, scores, domains, draws(len(length), seed, draw_count))
    figures = {name: _figures(name, scores[name], labels, domains, drawn) for name in scores}
    evaluation = Evaluation(
        rows=len(labels.prompts),
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
        routers={name: _with_length(name, figure, figures["length"], drawn) for name, figure in figures.items()},
        offers=[],
        prices="",
        verdict="",
    )
    evaluation = _with_offers(evaluation, labels, {rival.name: scores[rival.name] for rival in rivals}, drawn)
    return replace(evaluation, verdict=verdict(evaluation))


def _draw(
    labels: Labels, scores: Mapping[str, Floats], domains: Mapping[str | None, Rows], parts: Iterable[Counts]
) -> Drawn:
    gain = labels.gain
    ranks = {(name, domain): rank(scores[name][rows]) for name in scores for domain, rows in domains.items()}
    apgrs: dict[tuple[str, str | None], list[Floats]] = {key: [] for key in ranks}
    gains: dict[str, list[Floats]] = {name: [] for name in scores}
    weak: list[Floats] = []
    for counts in parts:
        for domain, rows in domains.items():
            within = counts[:, rows]
            for name in scores:
                apgrs[name, domain].append(drawn_apgr(ranks[name, domain], gain[rows], within))
        for name in scores:
            gains[name].append(drawn_curves(ranks[name, ALL], gain, counts, SHARES))
        weak.append(counts @ labels.weak / len(gain))
    courses = {name: np.concatenate(parts) for name, parts in gains.items()}
    return Drawn(
        apgr={key: np.concatenate(parts) for key, parts in apgrs.items()},
        gain=courses,
        weak=np.concatenate(weak),
        gap=courses["random"][:, -1],
    )


def _figures(
    name: str, scores: Floats, labels: Labels, domains: Mapping[str | None, Rows], drawn: Drawn
) -> RouterFigures:
    strong, weak = labels.strong, labels.weak
    curve = quality_curve(scores, strong, weak, SHARES)
    gap = _gap(strong, weak)
    cpt20, cpt50, cpt80 = (_calls(curve, gap, part) for part in (0.2, 0.5, 0.8))
    return RouterFigures(
        apgr=_rounded(apgr(scores, strong, weak)) if gap else None,
        apgr_ci=interval(drawn.apgr[name, ALL]) if gap else None,
        apgr10=_rounded(coarse_apgr(scores, strong, weak)) if gap else None,
        cpt20=cpt20,
        cpt50=cpt50,
        cpt80=cpt80,
        auc=float(np.trapezoid(curve, SHARES)),
        domains={
            domain: _of_domain(scores[rows], strong[rows], weak[rows], drawn.apgr[name, domain])
            for domain, rows in domains.items()
            if domain is not ALL
        },
        curve=list(zip((100 * SHARES).tolist(), curve.tolist(), strict=True)),
        over_length=None,
        over_length_ci=None,
    )


def _calls(curve: Floats, gap: float | None, part: float) -> float | None:
    """The percentage of strong calls at which a part of the gap is recovered."""
    return None if gap is None else 100 * share_reaching(curve, float(curve[0]) + part * gap, SHARES)


def _of_domain(scores: Floats, strong: Floats, weak: Floats, drawn: Floats) -> DomainFigures:
    if _gap(strong, weak) is None:
        return DomainFigures(len(scores), None, None)
    return DomainFigures(len(scores), _rounded(apgr(scores, strong, weak)), interval(drawn))


def _with_length(name: str, figures: RouterFigures, length: RouterFigures, drawn: Drawn) -> RouterFigures:
    """With what the router is above prompt length, over the same draws."""
    if figures.apgr is None or length.apgr is None or name == "length":
        return figures
    return replace(
        figures,
        over_length=figures.apgr - length.apgr,
        over_length_ci=interval(drawn.apgr[name, ALL] - drawn.apgr["length", ALL]),
    )


def _with_offers(evaluation: Evaluation, labels: Labels, scores: Mapping[str, Floats], drawn: Drawn) -> Evaluation:
    calls = price_calls(labels.prompts, evaluation.strong_model, evaluation.weak_model)
    offers: list[Offer] = []
    for name in scores if evaluation.routers["random"].apgr is not None else ():
        gain = quality_curve(scores[name], labels.strong, labels.weak, SHARES) - evaluation.weak
        course = Course(SHARES, gain, drawn.gain[name], drawn.weak)
        offers.append(make_offer(name, scores[name], course, evaluation.strong, evaluation.weak, calls))
    return replace(evaluation, offers=offers, prices=calls.words)


def _gap(strong: Floats, weak: Floats) -> float | None:
    """What all-strong is better by; None where it is not."""
    gap = float(strong.mean() - weak.mean())
    return gap if gap > 1e-12 else None


def _rounded(figure: float) -> float:
    """Without the last digits, in which sums differ: chance is 0.5 and nothing near it."""
    return round(figure, 9)
