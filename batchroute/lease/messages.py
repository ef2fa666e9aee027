"""What a worker and the driver of a run say to each other: a renewal and its grant, once a period.

All times are lengths in seconds: the two have no clock in common. A lease lasts `ttl_s` from the moment at which
its renewal was sent, on the worker's clock.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec


class LaneUse(msgspec.Struct, frozen=True):
    """What a worker uses of one lane.

    The speeds are those that it may be sending at now, whatever it sends; None: no limit. `waiting`: rows wait for
    more of it. `ok`: an answer was good, so far; `rate_limited` counts 429s since it began, `rests_s` is how long
    their pause still lasts, `learnt` the speed that the endpoint was found to take. `stopped` says why it ended.
    """

    requests_per_minute: float | None = 0.0
    tokens_per_minute: float | None = 0.0
    in_flight: int = 0
    waiting: bool = False
    ok: bool = False
    rate_limited: int = 0
    rests_s: float = 0.0
    learnt: float | None = None
    away: bool = False
    stopped: str | None = None


class ShardEnd(msgspec.Struct, frozen=True):
    """A shard that a worker gave back: `done`, or left for a reason that is `said`."""

    number: int
    done: bool
    said: str | None = None


class Renewal(msgspec.Struct, frozen=True):
    """What a worker says each period, `number` counting up from 0.

    `taken_usd` is what it has spent, reserved and cannot confirm since it began, `ceiling_usd` how far that may
    have gone by what it has written to disk, `wants_usd` what its next row needs that does not fit. `open` shards
    are its own; `wants_shard`: it could begin another. `stopping`: why it drains, if it does.
    """

    worker: str
    epoch: int
    number: int
    lanes: dict[str, LaneUse] = {}
    taken_usd: Decimal = Decimal(0)
    ceiling_usd: Decimal = Decimal(0)
    wants_usd: Decimal = Decimal(0)
    open: list[int] = []
    ended: list[ShardEnd] = []
    wants_shard: bool = False
    stopping: str | None = None


class LaneGrant(msgspec.Struct, frozen=True):
    """What a worker may use of one lane until its lease is over; None: no limit.

    `rests_s`: nothing is sent before. `stop`: why nothing is sent any more, on no worker.
    """

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    slots: int = 0
    rests_s: float = 0.0
    stop: str | None = None


class Grant(msgspec.Struct, frozen=True):
    """What a renewal of this number is answered.

    `ceiling_usd` is how far the worker's `taken_usd` may go; None: there is no limit. `shards` are new ones to
    begin. `threshold`, where one is known. `drain`: why the worker is to end in order; `finished`: no shard is
    left.
    """

    epoch: int
    number: int
    ttl_s: float
    lanes: dict[str, LaneGrant] = {}
    ceiling_usd: Decimal | None = None
    shards: list[int] = []
    threshold: float | None = None
    drain: str | None = None
    finished: bool = False
