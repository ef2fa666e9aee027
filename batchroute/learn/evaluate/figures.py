"""What an evaluation says, as values and in plain words; None is what cannot be known, never 0.

The words: is a router better than chance and than length here, and is routing worth it at all? A difference counts
where its 95 % interval leaves the value behind; anything else is "cannot be told". Chance and length are controls:
routers are held against them, and they are never recommended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchroute.quality.recovered import Interval, Recovered

BASELINES = ("random", "length", "oracle")  # compared with in any case
CHANCE = 0.5
# An oracle below it: the strong side is better by about as much on nearly every prompt, whatever is asked.
NOTHING_TO_CHOOSE = 0.6


@dataclass(frozen=True, slots=True)
class RouterFigures:
    """One router on all prompts.

    `apgr` is taken on 100 steps of the strong share, `apgr10` at RouteLLM's ten quantiles of the scores, both
    None where the strong side is no better. `cpt20` ... are the percentages of strong calls that recover 20 %
    ... of the gap, `auc` the mean quality over all shares, `curve` [strong percentage, mean quality].
    `over_length` is what its APGR is above that of prompt length, over the same draws. Intervals hold 95 %. The
    figures of `random` are means over 100 random routers, and its interval is that of one of them.
    """

    apgr: float | None
    apgr_ci: Interval | None
    apgr10: float | None
    cpt20: float | None
    cpt50: float | None
    cpt80: float | None
    auc: float
    domains: dict[str, Recovered]
    curve: list[tuple[float, float]]
    over_length: float | None
    over_length_ci: Interval | None


@dataclass(frozen=True, slots=True)
class Offer:
    """What a router buys: `quality_percent` of the strong side's quality at `cost_percent` of its cost.

    `strong_percent` of the calls go strong for it, `random_percent` would by chance; the cost is None where a
    price is unknown.
    """

    router: str
    quality_percent: float
    strong_percent: float
    strong_percent_ci: Interval | None
    random_percent: float
    cost_percent: float | None
    cost_percent_ci: Interval | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Routers on n = `rows` labels; `strong` and `weak` are the mean quality of all-strong and all-weak.

    `gap_ci` is the interval of their difference; `prices` says in words what calls were taken to cost.
    """

    rows: int
    strong: float
    weak: float
    strong_model: str
    weak_model: str
    gap_ci: Interval
    domains: dict[str, tuple[int, float, float]]
    routers: dict[str, RouterFigures]
    offers: list[Offer]
    prices: str
    verdict: str


def is_control(name: str) -> bool:
    """Whether a router of that name only shows what can be had without one."""
    return name in BASELINES or name.startswith("random:")


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
    own = {name: figures for name, figures in evaluation.routers.items() if not is_control(name)}
    if not own:
        return ["No router was evaluated, only controls: name one by --router or --model."]
    length = evaluation.routers["length"]
    sentences = [_of_router(name, figures) for name, figures in own.items()]
    good = [name for name, figures in own.items() if _above(figures.apgr_ci, CHANCE)]
    if good:
        best = max(good, key=lambda name: own[name].apgr or 0.0)
        sentences.append(f"Routing is worth it here: {_offer(evaluation, best)}.")
        if not _above(own[best].over_length_ci, 0.0) and _above(length.apgr_ci, CHANCE):
            sentences.append(f"Prompt length alone does {_against(own[best].over_length_ci)}.")
        return sentences
    if _above(length.apgr_ci, CHANCE):
        sentences.append("Prompt length is better than chance, so these prompts do tell which model they need.")
    sentences.append(
        "Routing by these is not worth it: none is better than chance, which any share gives for nothing; "
        "train one on labels of your own, or take one model."
    )
    return sentences


def _against(over_length: Interval | None) -> str:
    return "better" if over_length is not None and over_length[1] < 0 else "about as well"


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
    offer = next(offer for offer in evaluation.offers if offer.router == router)
    return offer_words(offer, evaluation.strong_model)


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
