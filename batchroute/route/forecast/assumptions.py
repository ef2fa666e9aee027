"""What is assumed of an endpoint before it was asked, and what its rows then cost and take.

Knows prices, an earlier run's figures and rules of thumb; knows no scores and no thresholds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batchroute.job.prices import price_words
from batchroute.job.rules import longest_output
from batchroute.route.forecast.evidence import Band
from batchroute.types import Usage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from batchroute.job.prices import Pricing
    from batchroute.job.spec import EndpointSpec
    from batchroute.route.forecast.evidence import EarlierAnswers, TokenRatio
    from batchroute.types import Floats

# Money is added up in whole nano-dollars per row. Whole numbers add up exactly in float64 up to 2**53, which is
# nine million dollars, so a threshold costs the same in whatever order its rows are added: in floats
# 0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1, but 100,000,000 + 200,000,000 + 300,000,000 is the same backwards. A row
# of 1,000 characters, 4 a token, and an answer of 500 tokens, at 1.25 and 10 USD per million, costs
# 250 * 1,250 + 500 * 10,000 = 5,312,500 of them.
NANO = 1e9
USUAL_COMPLETION = Band(100, 500, 2000)  # tokens of an answer of which nothing is known
EARLIER_ERROR = 0.2  # of an earlier run's mean: another night has other prompts
SIMULATED_ERROR = 0.1
FIRST_TOKEN_S = 0.5
TOKENS_PER_S = 60.0  # of a hosted model


@dataclass(frozen=True, slots=True)
class Assumptions:
    """One endpoint as a forecast sees it; `pricing` None: unknown.

    `latency_is_known`: from an earlier run or a simulated provider, else it is a rule of thumb.
    """

    spec: EndpointSpec
    pricing: Pricing | None
    tokens_per_char: Band
    completion_tokens: Band
    latency_s: float
    latency_is_known: bool
    words: tuple[str, ...]

    def costs(self, chars: NDArray[np.int64]) -> Floats:
        """[3, n] low, mid and high cost of rows of so many characters, in nano-dollars; 0 without a price."""
        bands = zip(self.tokens_per_char, self.completion_tokens, strict=True)
        return np.stack([self._cost(chars, ratio, length) for ratio, length in bands])

    def mid_cost(self, chars: NDArray[np.int64]) -> Floats:
        """[n] the one in the middle."""
        return self._cost(chars, self.tokens_per_char.mid, self.completion_tokens.mid)

    def time_s(self, rows: float, chars: float) -> float:
        """How long so many rows take at the limits that are set."""
        spec = self.spec
        tokens = chars * self.tokens_per_char.mid + rows * self.completion_tokens.mid
        bounds = []
        if spec.requests_per_minute is not None:
            bounds.append(60 * rows / spec.requests_per_minute)
        if spec.tokens_per_minute is not None:
            bounds.append(60 * tokens / spec.tokens_per_minute)
        if self.latency_is_known or not bounds:
            bounds.append(rows * self.latency_s / spec.max_concurrency)
        return max(bounds)

    def _cost(self, chars: NDArray[np.int64], tokens_per_char: float, completion_tokens: float) -> Floats:
        if self.pricing is None:
            return np.zeros(len(chars))
        rates = self.pricing.rates
        prompt_tokens = chars.astype(np.float64) * tokens_per_char
        per_million = prompt_tokens * float(rates.input) + completion_tokens * float(rates.output or 0)
        nano = float(rates.fee) * NANO + per_million * (NANO / 1e6)
        if rates.up_to is not None:
            long = np.flatnonzero(prompt_tokens > rates.up_to)
            nano[long] = _one_by_one(self.pricing, prompt_tokens[long], completion_tokens)
        whole: Floats = np.rint(nano)
        return whole


def _one_by_one(pricing: Pricing, prompt_tokens: Floats, completion_tokens: float) -> Floats:
    """[n] nano-dollars of requests in a higher tier: there are few, and equal ones cost the same."""
    counts, inverse = np.unique(np.rint(prompt_tokens).astype(np.int64), return_inverse=True)
    usages = (Usage(prompt_tokens=count, completion_tokens=round(completion_tokens)) for count in counts.tolist())
    costs = [float(pricing.cost(usage) or 0) * NANO for usage in usages]
    return np.array(costs, np.float64)[inverse]


def assume(
    spec: EndpointSpec, pricing: Pricing | None, ratio: TokenRatio, earlier: EarlierAnswers | None
) -> Assumptions:
    """What to assume of an endpoint: an earlier run's figures before rules of thumb."""
    completion, completion_words = _completion(spec, earlier)
    latency_s, is_known, latency_words = _latency(spec, completion, earlier)
    return Assumptions(
        spec=spec,
        pricing=pricing,
        tokens_per_char=ratio.tokens_per_char,
        completion_tokens=completion,
        latency_s=latency_s,
        latency_is_known=is_known,
        words=(price_words(pricing), f"prompts: {ratio.source}", completion_words, latency_words),
    )


def _completion(spec: EndpointSpec, earlier: EarlierAnswers | None) -> tuple[Band, str]:
    """Tokens of an answer, over all its choices: no more than the job's own bound."""
    bound = longest_output(spec.params) or math.inf
    if earlier is not None:
        band = Band.around(earlier.completion_tokens, EARLIER_ERROR).at_most(bound)
        return band, f"answers: {band.mid:,.0f} tokens as in the run {earlier.run}"
    if spec.simulate is not None:
        band = Band.around(spec.simulate.response_tokens, SIMULATED_ERROR).at_most(bound)
        return band, f"answers: {band.mid:,.0f} tokens as simulated"
    usual = USUAL_COMPLETION
    band = Band(usual.low, usual.mid, usual.high if math.isinf(bound) else max(bound, usual.mid)).at_most(bound)
    return band, (
        f"answers: {band.mid:,.0f} tokens assumed, {band.low:,.0f} to {band.high:,.0f} possible "
        f"({'no bound' if math.isinf(bound) else 'by the bound in params'}, no earlier run)"
    )


def _latency(spec: EndpointSpec, completion: Band, earlier: EarlierAnswers | None) -> tuple[float, bool, str]:
    if earlier is not None and earlier.latency_s is not None:
        return earlier.latency_s, True, f"latency: {earlier.latency_s:,.2f} s as in the run {earlier.run}"
    if spec.simulate is not None:
        latency_s = spec.simulate.latency_s + spec.simulate.jitter_s / 2
        return latency_s, True, f"latency: {latency_s:,.2f} s as simulated"
    latency_s = FIRST_TOKEN_S + completion.mid / TOKENS_PER_S
    is_used = spec.requests_per_minute is None and spec.tokens_per_minute is None
    words = f"latency: {latency_s:,.1f} s assumed" if is_used else "latency: unknown, the limits decide the time"
    return latency_s, False, words
