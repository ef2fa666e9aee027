"""The limits of a run that workers share, and how many of them these keep busy.

Knows no workers by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

LEAST_RPM = 600  # a smaller share is mostly bursts: each holder may send one request more than its speed
LEAST_TPM = 30_000  # a request larger than a share has to wait until the share is made larger
TTL_PERIODS = 3
DRIVER_SLOWER = 1.05  # the driver takes a lease for over this much later, as the clocks may drift apart


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """Of one lane, over all workers; None: no limit. `timeout_s`: the longest that a request may be in flight."""

    requests_per_minute: float | None = None
    tokens_per_minute: int | None = None
    max_concurrency: int | None = None
    timeout_s: float = 600.0

    @property
    def seats(self) -> int | None:
        """How many workers can hold a share of the lane at a time; None: any number."""
        # Worked example: 3,000 requests a minute are 5 shares of 600; 64 slots would do for 64 workers, so there
        # are 5 seats. 100 requests a minute are one share: one worker has all of it.
        counts = [
            None if self.requests_per_minute is None else self.requests_per_minute // LEAST_RPM,
            None if self.tokens_per_minute is None else self.tokens_per_minute // LEAST_TPM,
            self.max_concurrency,
        ]
        return min((max(1, int(count)) for count in counts if count is not None), default=None)


def senders_for(lanes: Mapping[str, LaneLimits]) -> int | None:
    """How many workers can hold a share of each lane; None: any number."""
    return min((lane.seats for lane in lanes.values() if lane.seats is not None), default=None)


def said_of_senders(lanes: Mapping[str, LaneLimits]) -> str | None:
    """What keeps the number of workers down, in words; None where nothing does."""
    senders = senders_for(lanes)
    if senders is None:
        return None
    name, limits = min(lanes.items(), key=lambda lane: lane[1].seats or senders + 1)
    rpm, tpm, slots = limits.requests_per_minute, limits.tokens_per_minute, limits.max_concurrency
    if rpm is not None and max(1, rpm // LEAST_RPM) == senders:
        what = f"{rpm:,.0f} requests a minute"
    elif tpm is not None and max(1, tpm // LEAST_TPM) == senders:
        what = f"{tpm:,} tokens a minute"
    else:
        what = f"{slots:,} slots"
    return f"{what} of the {name} lane keep {senders:,} sender{'s' if senders > 1 else ''} busy"


def period_s(workers: int, lease_s: float | None = None) -> float:
    """How often each worker renews: so that a thousand do not keep the driver busy, unless the job says it."""
    return max(2.0, workers / 50) if lease_s is None else lease_s


def ttl_s(period_s: float) -> float:
    """How long a lease lasts, on the worker's clock."""
    return TTL_PERIODS * period_s


def quiet_s(last_ttl_s: float) -> float:
    """How long a new driver grants nothing where the last one, of this ttl, may have left leases behind."""
    return last_ttl_s * DRIVER_SLOWER
