"""Tokens -> US dollars, by a price that is given: straight lines, and the lengths of prompt that each holds for.

Knows neither models nor where a price comes from.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchroute.types import Usage

Schedule: TypeAlias = "tuple[Rates, ...]"  # by length of prompt, ascending; the last holds for all that are longer


@dataclass(frozen=True, slots=True)
class Rates:
    """A price as a straight line: USD per million tokens, and `fee` USD per request.

    `output` None: the model has none, as an embedding. `media_input` is the most a token of an image or a sound
    may cost, `audio_input` what one of a sound does; None: as one of text. The line holds for prompts of up to
    `up_to` tokens, of any length where that is None.
    """

    # Worked example, 30,000 prompt tokens, 10,000 of them from the cache and 5,000 written to it, 1,000 of output,
    # at 2 for input, 0.1 cached, 2.5 written, 10 for output:
    #
    #     0 + (15,000 * 2 + 10,000 * 0.1 + 5,000 * 2.5 + 1,000 * 10) / 1,000,000 = $0.0535
    input: Decimal
    cached_input: Decimal
    cache_write: Decimal
    cache_write_1h: Decimal
    output: Decimal | None
    media_input: Decimal
    fee: Decimal = Decimal(0)
    up_to: int | None = None
    audio_input: Decimal | None = None

    def usd(
        self,
        prompt: int,
        cached: int,
        completion: int,
        requests: int = 1,
        *,
        written: int = 0,
        written_1h: int = 0,
        audio: int = 0,
    ) -> Decimal:
        """The cost of so many requests that have these tokens in all.

        `written_1h` are among the `written`, `audio` among those that are neither `cached` nor written.
        """
        tokens = (prompt - cached - written) * self.input + cached * self.cached_input
        tokens += completion * (self.output or 0)
        if written:
            tokens += (written - written_1h) * self.cache_write + written_1h * self.cache_write_1h
        if audio and self.audio_input is not None:
            tokens += audio * (self.audio_input - self.input)
        return requests * self.fee + tokens.scaleb(-6)

    @property
    def highest_input(self) -> Decimal:
        """The most that a prompt token of text may cost."""
        return max(self.input, self.cached_input, self.cache_write, self.cache_write_1h)


def rates_for(schedule: Schedule, prompt: int) -> Rates:
    """The line that holds for a prompt of so many tokens."""
    return next(rates for rates in schedule if rates.up_to is None or prompt <= rates.up_to)


def cache_tokens(usage: Usage, prompt: int) -> tuple[int, int, int]:
    """Of a prompt's tokens those read from a cache, written to one, and among these those kept for an hour.

    A provider that counts parts of the prompt beside it is cut short; what costs more is believed first.
    """
    written = max(0, min(usage.cache_write_tokens or 0, prompt))
    cached = max(0, min(usage.cached_tokens or 0, prompt - written))
    return cached, written, max(0, min(usage.cache_write_1h_tokens or 0, written))


def highest(schedules: Iterable[Schedule]) -> Schedule:
    """The most that a prompt of up to so many tokens may cost, whichever of the schedules holds for it.

    Of one with 2 up to 272,000 tokens and 4 above, and another with 3 for all: 3 up to 272,000, 4 above. Every
    kind of input costs the same in it.
    """
    spans = [
        (0 if before is None else before.up_to or 0, rates)
        for schedule in schedules
        for before, rates in pairwise((None, *schedule))
        if rates is not None
    ]
    breaks = sorted({rates.up_to for _, rates in spans if rates.up_to is not None})
    return tuple(
        _highest_of([rates for above, rates in spans if up_to is None or above < up_to], up_to)
        for up_to in (*breaks, None)
    )


def _highest_of(all_rates: list[Rates], up_to: int | None) -> Rates:
    text = max(rates.highest_input for rates in all_rates)
    outputs = [rates.output for rates in all_rates if rates.output is not None]
    return Rates(
        input=text,
        cached_input=text,
        cache_write=text,
        cache_write_1h=text,
        output=max(outputs, default=None),
        media_input=max(text, *(rates.media_input for rates in all_rates)),
        fee=max(rates.fee for rates in all_rates),
        up_to=up_to,
    )
