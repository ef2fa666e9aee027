"""What is assumed of an endpoint before it was asked, and what its rows then cost and take.

Knows prices, an earlier run's figures and rules of thumb; knows no scores and no thresholds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batchroute.job.media import UNKNOWN, media_tokens
from batchroute.job.prices import price_words
from batchroute.job.rules import longest_output
from batchroute.job.tiers import STANDARD
from batchroute.route.forecast.evidence import Band

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from batchroute.job.endpoint import EndpointSpec
    from batchroute.job.media import MediaTokens
    from batchroute.job.prices import Pricing
    from batchroute.job.rates import Schedule
    from batchroute.route.forecast.evidence import EarlierAnswers, TokenRatio
    from batchroute.store.scores import ScoredRows
    from batchroute.types import Floats

# Money is added up in whole nano-dollars per row. Whole numbers add up exactly in float64 up to 2**53, which is
# nine million dollars, so a threshold costs the same in whatever order its rows are added: in floats
# 0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1, but 100,000,000 + 200,000,000 + 300,000,000 is the same backwards. A row
# of 1,000 characters, 4 a token, and an answer of 500 tokens, at 1.25 and 10 USD per million, costs
# 250 * 1,250 + 500 * 10,000 = 5,312,500 of them.
NANO = 1e9
USUAL_COMPLETION = Band(100, 500, 2000)  # tokens of an answer of which nothing is known
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
    media: MediaTokens = UNKNOWN

    def chars(self, rows: ScoredRows) -> NDArray[np.int64]:
        """[n] the characters of rows, and those of a text that has as many tokens as their media here."""
        if not rows.media:
            return rows.chars
        chars = rows.chars.copy()
        for media, having in rows.media.items():
            chars[having] += round(self.media.expected(media) / self.tokens_per_char.mid)
        return chars

    def costs(self, chars: NDArray[np.int64]) -> Floats:
        """[3, n] low, mid and high cost of rows of so many characters, in nano-dollars; 0 without a price."""
        bands = zip(self.tokens_per_char, self.completion_tokens, strict=True)
        schedule = self._schedule()
        return np.stack([_cost(chars, ratio, length, schedule) for ratio, length in bands])

    def mid_cost(self, chars: NDArray[np.int64]) -> Floats:
        """[n] the one in the middle."""
        return _cost(chars, self.tokens_per_char.mid, self.completion_tokens.mid, self._schedule())

    def list_cost(self, chars: NDArray[np.int64]) -> Floats:
        """[n] the same in the standard tier of service: what all rows on one side are compared at."""
        return _cost(chars, self.tokens_per_char.mid, self.completion_tokens.mid, self._schedule(STANDARD))

    def time_s(self, rows: float, chars: float) -> float:
        """How long so many rows take at the limits that are set."""
        spec, times = self.spec, self.spec.times_limited
        tokens = chars * self.tokens_per_char.mid + rows * self.completion_tokens.mid
        bounds = []
        if spec.requests_per_minute is not None:
            bounds.append(60 * rows / (times * spec.requests_per_minute))
        if spec.tokens_per_minute is not None:
            bounds.append(60 * tokens / (times * spec.tokens_per_minute))
        if self.latency_is_known or not bounds:
            bounds.append(rows * self.latency_s / (times * spec.max_concurrency))
        return max(bounds)

    def _schedule(self, tier: str | None = None) -> Schedule | None:
        return None if self.pricing is None else self.pricing.schedule(tier)


def _cost(
    chars: NDArray[np.int64], tokens_per_char: float, completion_tokens: float, schedule: Schedule | None
) -> Floats:
    """[n] nano-dollars of requests of so many characters; how long a prompt is decides which line holds for it."""
    if schedule is None:
        return np.zeros(len(chars))
    prompt_tokens = chars.astype(np.float64) * tokens_per_char
    lines = np.array([(rates.fee, rates.input, rates.output or 0) for rates in schedule], np.float64)
    ends = [rates.up_to for rates in schedule if rates.up_to is not None]
    line = np.searchsorted(ends, prompt_tokens) if ends else 0
    fee, per_million_in, per_million_out = lines[line].T
    per_million = prompt_tokens * per_million_in + completion_tokens * per_million_out
    nano: Floats = np.rint(fee * NANO + per_million * (NANO / 1e6))
    return nano


def assume(
    spec: EndpointSpec,
    pricing: Pricing | None,
    ratio: TokenRatio,
    earlier: EarlierAnswers | None,
    usual: Band = USUAL_COMPLETION,
) -> Assumptions:
    """What to assume of an endpoint: an earlier run's figures before rules of thumb.

    `usual` are the tokens of an answer of which nothing is known.
    """
    completion, completion_words = _completion(spec, earlier, usual)
    latency_s, is_known, latency_words = _latency(spec, completion, earlier)
    return Assumptions(
        spec=spec,
        pricing=pricing,
        tokens_per_char=ratio.tokens_per_char,
        completion_tokens=completion,
        latency_s=latency_s,
        latency_is_known=is_known,
        words=(price_words(pricing), f"prompts: {ratio.source}", completion_words, latency_words),
        media=media_tokens(spec.model, spec.max_media_tokens),
    )


def _completion(spec: EndpointSpec, earlier: EarlierAnswers | None, usual: Band) -> tuple[Band, str]:
    """Tokens of an answer, over all its choices: no more than the job's own bound."""
    bound = longest_output(spec.params) or math.inf
    if earlier is not None:
        band = Band.around(earlier.completion_tokens, earlier.error).at_most(bound)
        return band, f"answers: {band.mid:,.0f} tokens as in {earlier.source}"
    if spec.simulate is not None:
        band = Band.around(spec.simulate.response_tokens, SIMULATED_ERROR).at_most(bound)
        return band, f"answers: {band.mid:,.0f} tokens as simulated"
    band = Band(usual.low, usual.mid, usual.high if math.isinf(bound) else max(bound, usual.mid)).at_most(bound)
    return band, (
        f"answers: {band.mid:,.0f} tokens assumed, {band.low:,.0f} to {band.high:,.0f} possible "
        f"({'no bound' if math.isinf(bound) else 'by the bound in params'}, no earlier run)"
    )


def _latency(spec: EndpointSpec, completion: Band, earlier: EarlierAnswers | None) -> tuple[float, bool, str]:
    if earlier is not None and earlier.latency_s is not None:
        return earlier.latency_s, True, f"latency: {earlier.latency_s:,.2f} s as in {earlier.source}"
    if spec.simulate is not None:
        latency_s = spec.simulate.latency_s + spec.simulate.jitter_s / 2
        return latency_s, True, f"latency: {latency_s:,.2f} s as simulated"
    latency_s = FIRST_TOKEN_S + completion.mid / TOKENS_PER_S
    is_used = spec.requests_per_minute is None and spec.tokens_per_minute is None
    words = f"latency: {latency_s:,.1f} s assumed" if is_used else "latency: unknown, the limits decide the time"
    return latency_s, False, words
