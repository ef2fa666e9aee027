"""What a router buys: a share of the strong side's quality at a share of its cost, from list prices.

Labels hold no tokens, so both models are taken to read a prompt's characters at four a token and to answer with as
many tokens as an answer usually has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batchroute.job.prices import find_pricing
from batchroute.learn.evaluate.figures import Offer
from batchroute.quality.curves import SHARES, interval, quality_curve, share_reaching
from batchroute.route.forecast.assumptions import USUAL_COMPLETION
from batchroute.send.tokens import CHARS_PER_TOKEN, estimate_tokens
from batchroute.types import Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchroute.job.prices import Pricing
    from batchroute.learn.labels.sides import Labels
    from batchroute.quality.curves import DrawnFigures
    from batchroute.types import Floats

GOOD_ENOUGH = 0.95  # of the strong side's quality
ANSWER_TOKENS = int(USUAL_COMPLETION.mid)


@dataclass(frozen=True, slots=True)
class CallCosts:
    """What the n prompts cost in USD on each side, and in words by which prices; None: a price is unknown."""

    strong: Floats | None
    weak: Floats | None
    basis: str


def price_calls(prompts: Sequence[str], strong_model: str, weak_model: str) -> CallCosts:
    """The cost of every prompt on either side, at list prices for the models' names."""
    models = (strong_model, weak_model)
    found = {model: pricing for model in models if (pricing := find_pricing(model, None, None))}
    unknown = [model for model in models if model not in found or found[model].rates.output is None]
    if unknown:
        return CallCosts(None, None, f"no list price is known for {' or '.join(unknown)}: cost is unknown")
    lines = [f"{model} {each.rates.input:f}/{each.rates.output:f}" for model, each in found.items()]
    basis = (
        f"list prices, USD per million tokens in and out: {', '.join(lines)}; "
        f"{CHARS_PER_TOKEN} characters a token, {ANSWER_TOKENS} tokens an answer"
    )
    chars = np.fromiter(map(len, prompts), np.int64, len(prompts))
    strong, weak = (_costs(found[model], chars) for model in models)
    return CallCosts(strong, weak, basis)


def make_offer(router: str, scores: Floats, labels: Labels, drawn: DrawnFigures, calls: CallCosts) -> Offer:
    """What `router` buys: GOOD_ENOUGH of the quality; half of the gap where the weak side has that already."""
    strong, weak = float(labels.strong.mean()), float(labels.weak.mean())
    quality = GOOD_ENOUGH if weak < GOOD_ENOUGH * strong else (strong + weak) / 2 / strong
    curve = quality_curve(scores, labels.strong, labels.weak, SHARES)
    share = share_reaching(curve - weak, quality * strong - weak, SHARES)
    # in every draw, quality is a part of what all-strong has in that draw
    needed = quality * (drawn.weak + drawn.gap) - drawn.weak
    shares = np.array(
        [share_reaching(gain, least, SHARES) for gain, least in zip(drawn.gain[router], needed, strict=True)]
    )
    between = interval(shares)
    cost = _cost_curve(scores, calls)
    return Offer(
        router=router,
        quality_percent=100 * quality,
        strong_percent=100 * share,
        strong_percent_ci=None if between is None else (100 * between[0], 100 * between[1]),
        random_percent=100 * (quality * strong - weak) / (strong - weak),
        cost_percent=None if cost is None else float(np.interp(share, SHARES, cost)),
        cost_percent_ci=None if cost is None else interval(np.interp(shares, SHARES, cost)),
    )


def _cost_curve(scores: Floats, calls: CallCosts) -> Floats | None:
    """Cost of sending SHARES strong, in percent of sending all."""
    if calls.strong is None or calls.weak is None:
        return None
    curve: Floats = 100 * quality_curve(scores, calls.strong, calls.weak, SHARES) / calls.strong.mean()
    return curve


def _costs(pricing: Pricing, chars: np.typing.NDArray[np.int64]) -> Floats:
    tokens, row = np.unique(estimate_tokens(chars), return_inverse=True)
    costs = [pricing.cost(Usage(prompt_tokens=int(n), completion_tokens=ANSWER_TOKENS)) for n in tokens]
    return np.array([float("nan") if cost is None else float(cost) for cost in costs])[row]
