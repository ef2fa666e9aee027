"""Figures -> plain words: is a router better than chance and than length here, and is routing worth it at all?

A difference counts where its 95 % interval leaves the value behind; anything else is "cannot be told".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchroute.learn.evaluate.rivals import BASELINES

if TYPE_CHECKING:
    from batchroute.learn.evaluate.figures import Evaluation, Interval, Offer, RouterFigures

CHANCE = 0.5
# An oracle below it: the strong side is better by about as much on nearly every prompt, whatever is asked.
NOTHING_TO_CHOOSE = 0.6


def verdict(evaluation: Evaluation) -> str:
    """Some sentences, the last of which says what to do."""
    return " ".join((*_of_models(evaluation), *(_of_routers(evaluation) if _is_routable(evaluation) else ())))


def _is_routable(evaluation: Evaluation) -> bool:
    oracle = evaluation.routers["oracle"].apgr
    return evaluation.gap_ci[0] > 0 and oracle is not None and oracle >= NOTHING_TO_CHOOSE


def _of_models(evaluation: Evaluation) -> list[str]:
    strong, weak = evaluation.strong_model, evaluation.weak_model
    scores = f"{evaluation.strong:.3f} against {evaluation.weak:.3f} on {evaluation.rows:,} prompts"
    low, high = evaluation.gap_ci
    between = f"95 % interval of the difference {low:.3f} to {high:.3f}"
    if high < 0:
        return [
            f"{weak} is simply better than {strong} here ({scores}; {between}).",
            "Routing is not worth it: send everything to it (or exchange --strong and --weak, if mixed up).",
        ]
    if low <= 0:
        return [
            f"{strong} and {weak} cannot be told apart here ({scores}; {between}).",
            "Routing is not worth it on this evidence: send everything to the cheaper one, or label more prompts.",
        ]
    first = f"{strong} is better than {weak} ({scores}; {between})."
    if not _is_routable(evaluation):
        return [
            first,
            "It is simply better, by about as much on nearly every prompt: even an oracle could hardly choose.",
            "Routing is not worth it: take one of them by what you can pay.",
        ]
    return [first]


def _of_routers(evaluation: Evaluation) -> list[str]:
    own = {name: figures for name, figures in evaluation.routers.items() if name not in BASELINES}
    length = evaluation.routers["length"]
    sentences = [_of_router(name, figures) for name, figures in own.items()]
    good = [name for name, figures in own.items() if _above(figures.apgr_ci, CHANCE)]
    if good:
        best = max(good, key=lambda name: own[name].apgr or 0.0)
        sentences.append(f"Routing is worth it here: {_offer(evaluation, best)}.")
        if not _above(own[best].over_length_ci, 0.0) and _above(length.apgr_ci, CHANCE):
            sentences.append("Prompt length alone does about as well.")
    elif _above(length.apgr_ci, CHANCE):
        sentences.append('Prompt length is better than chance: of these, route by it (router.use = "length").')
    else:
        sentences.append(
            "Routing by these is not worth it: none is better than chance, which any share gives for nothing; "
            "train one on labels of your own, or take one model."
        )
    return sentences


def _of_router(name: str, figures: RouterFigures) -> str:
    chance = _side(figures.apgr_ci, CHANCE, "random")
    length = _side(figures.over_length_ci, 0.0, "prompt length")
    apgr = "unknown" if figures.apgr is None else f"{figures.apgr:.3f}"
    return f"{name} (APGR {apgr}, 95 % interval {_words(figures.apgr_ci)}) {chance} and {length}."


def _side(ci: Interval | None, value: float, rival: str) -> str:
    if ci is not None and ci[0] > value:
        return f"is better than {rival}"
    if ci is not None and ci[1] < value:
        return f"is worse than {rival}"
    return f"cannot be told from {rival}"


def _above(ci: Interval | None, value: float) -> bool:
    return ci is not None and ci[0] > value


def _words(ci: Interval | None) -> str:
    return "unknown" if ci is None else f"{ci[0]:.3f} to {ci[1]:.3f}"


def _offer(evaluation: Evaluation, router: str) -> str:
    return next(
        offer_words(offer, evaluation.strong_model) for offer in evaluation.offers if offer.router == router
    )


def offer_words(offer: Offer, strong_model: str) -> str:
    """The sentence that a router is judged by, with its interval, in calls where prices are unknown."""
    value, ci, unit = offer.cost_percent, offer.cost_percent_ci, "of its cost"
    if value is None:
        value, ci, unit = offer.strong_percent, offer.strong_percent_ci, "of the calls (its cost is unknown)"
    between = "" if ci is None else f" (95 % interval {ci[0]:.1f} to {ci[1]:.1f} %)"
    return (
        f"{offer.router} gives {offer.quality_percent:.1f} % of {strong_model}'s quality at {value:.1f} % {unit}"
        f"{between}, with {offer.strong_percent:.1f} % of the calls strong; "
        f"chance needs {offer.random_percent:.1f} %"
    )
