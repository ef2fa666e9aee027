"""What an evaluation says, as values; None is what cannot be known, never 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Interval: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True)
class DomainFigures:
    """One router on the prompts of one domain."""

    rows: int
    apgr: float | None
    apgr_ci: Interval | None


@dataclass(frozen=True, slots=True)
class RouterFigures:
    """One router on all prompts.

    `apgr` is taken on 100 steps of the strong share, `apgr10` at RouteLLM's ten quantiles of the scores, both
    None where the strong side is no better. `cpt20` ... are the percentages of strong calls that recover 20 %
    ... of the gap, `auc` the mean quality over all shares, `curve` [strong percentage, mean quality].
    `over_length` is what its APGR is above that of prompt length, over the same draws. Intervals hold 95 %.
    """

    apgr: float | None
    apgr_ci: Interval | None
    apgr10: float | None
    cpt20: float | None
    cpt50: float | None
    cpt80: float | None
    auc: float
    domains: dict[str, DomainFigures]
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
