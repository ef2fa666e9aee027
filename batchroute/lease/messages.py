"""What a worker and the driver of a run say to each other: a renewal and its grant, once a period.

All times are lengths in seconds: the two have no clock in common. A lease lasts `ttl_s` from the moment at which
its renewal was sent, on the worker's clock. Messages may be lost, late, doubled and out of order.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec


class LaneUse(msgspec.Struct, frozen=True):
    """What a worker uses of one lane.

    What it *may* be using now, whatever it does use; None: no limit:
        requests_per_minute, tokens_per_minute, slots
    What it did use:
        in_flight, now; most_in_flight and sent_per_minute, since its last renewal; tokens, sent in the last minute
    What it lacks:
        waiting: rows wait for speed, tokens or slots; wants_tokens, wants_usd: what the next row needs, where that
        is more than its share of a minute, or does not fit under its ceiling
    What it learnt of the endpoint since it began:
        good: answers so far; rate_limited: 429s so far, rests_s: how long the pause they asked for still lasts,
        learnt: the speed that the endpoint was found to take; away: its breaker is open; stopped: why the lane
        ended here
    """

    requests_per_minute: float | None = 0.0
    tokens_per_minute: float | None = 0.0
    slots: int | None = 0
    in_flight: int = 0
    most_in_flight: int = 0
    sent_per_minute: float = 0.0
    tokens: int = 0
    waiting: bool = False
    wants_tokens: int = 0
    wants_usd: Decimal = Decimal(0)
    good: int = 0
    rate_limited: int = 0
    rests_s: float = 0.0
    learnt: float | None = None
    away: bool = False
    stopped: str | None = None


class ShardTurn(msgspec.Struct, frozen=True):
    """A shard that is given to a worker; `turn` tells it from all other times at which a shard is given out."""

    number: int
    turn: int


class ShardOpen(msgspec.Struct, frozen=True):
    """A shard that a worker has, and how many rows of it are on record by now, by whomever."""

    number: int
    turn: int
    records: int = 0


class ShardEnd(msgspec.Struct, frozen=True):
    """A shard that a worker has no longer, said until a grant answers it.

    done; locked: another process has it, so it is tried again later; returned: unfinished, for anybody to go on
    with; left: for nobody, for the reason that is `said`.
    """

    number: int
    turn: int
    outcome: Literal["done", "locked", "returned", "left"]
    said: str | None = None


class Renewal(msgspec.Struct, frozen=True):
    """What a worker says each period, and as soon as it matters; `number` counts up from 0.

    `worker` names this process, and none that was before it. `epoch`: the last one that it was granted anything
    in, 0 before. `taken_usd` is what it has spent, reserved and cannot confirm since it began; `ceiling_usd` how
    far that may go by the grant it has, or by what it has written to disk where that is more. `wants_shard`: it
    could begin another. `stopping`: why the whole run has to end, if it has.
    """

    worker: str
    epoch: int
    number: int
    lanes: dict[str, LaneUse] = {}
    taken_usd: Decimal = Decimal(0)
    ceiling_usd: Decimal = Decimal(0)
    open: list[ShardOpen] = []
    ended: list[ShardEnd] = []
    wants_shard: bool = False
    stopping: str | None = None


class LaneGrant(msgspec.Struct, frozen=True):
    """What a worker may use of one lane until its lease is over; None: no limit.

    `answered`: the lane had a good answer, on any worker. `rests_s`: nothing is sent before. While its breaker is
    open a probe leaves no sooner than `probe_in_s`, and then no sooner than `probe_every_s` after the last.
    `stop`: why nothing is sent any more, on no worker. A request of more tokens than the share waits, unless the
    share is the whole limit of the lane.
    """

    requests_per_minute: float | None = 0.0
    tokens_per_minute: float | None = 0.0
    slots: int | None = 0
    answered: bool = False
    rests_s: float = 0.0
    probe_in_s: float = 0.0
    probe_every_s: float = 0.0
    stop: str | None = None


class Grant(msgspec.Struct, frozen=True):
    """What a renewal of this number is answered; only that of the last renewal is taken.

    `period_s`: when to renew again. `ceiling_usd` is how far the worker's `taken_usd` may go; None: there is no
    limit. `shards` are those it was given and has not said to be open. `threshold`, where one is known. `drain`:
    why the worker is to end in order; `finished`: no shard is left to be given, now or later.
    """

    epoch: int
    number: int
    ttl_s: float
    period_s: float
    lanes: dict[str, LaneGrant] = {}
    ceiling_usd: Decimal | None = None
    shards: list[ShardTurn] = []
    threshold: float | None = None
    drain: str | None = None
    finished: bool = False
