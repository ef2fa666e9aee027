"""Workers, a driver and the messages between them, for the rules of leases: a world on one true time.

Workers have clocks of their own, which drift; messages have the fates that a test gives them. Whatever a worker
may do by its lease, it is held to do.
"""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from batchroute.lease.held import HeldLease
from batchroute.lease.limiter import Limiter
from batchroute.lease.limits import LaneLimits, quiet_s, ttl_s
from batchroute.lease.messages import Grant, LaneGrant, LaneUse, Renewal
from batchroute.lease.money import SharedMoney
from batchroute.lease.queue import ShardQueue

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

LANE = "weak"
MINUTE_S = 60.0


class Fate(NamedTuple):
    """How long a message takes, for each copy of it that arrives; none: it is lost."""

    delays_s: tuple[float, ...] = (0.0,)


PROMPT = Fate()


@dataclass(eq=False, repr=False)
class ModelWorker:
    """A worker that uses all it may, of one lane; `disk` is the ceiling in its ledgers."""

    name: str
    drift: float = 0.0
    offset: float = 0.0
    alive: bool = True
    waiting: bool = True
    lease: HeldLease = field(default_factory=HeldLease)
    in_flight: list[tuple[float, int]] = field(default_factory=list)  # when each was sent, and in which epoch
    good: int = 0
    taken: Decimal = Decimal(0)
    disk: Decimal = Decimal(0)
    wants: Decimal = Decimal(0)
    held_at: float = -math.inf  # when it was last seen to hold a speed; it goes on where it was within a minute
    peaks: list[tuple[float, float]] = field(default_factory=list)  # (until, tokens a minute it might use)

    def __repr__(self) -> str:
        return self.name

    def clock(self, now: float) -> float:
        return self.offset + now * (1 + self.drift)

    def lease_ends(self) -> float:
        return (self.lease.ends_at - self.offset) / (1 + self.drift)

    def may(self, now: float) -> LaneGrant:
        return self.lease.lane(LANE, self.clock(now)) if self.alive else LaneGrant()

    def ceiling(self, now: float) -> Decimal:
        """How far its money may go, by its lease or by what is on disk."""
        granted = self.lease.ceiling_usd(self.clock(now)) if self.alive else None
        return self.disk if granted is None else max(self.disk, granted)

    def renewal(self, now: float) -> Renewal:
        may = self.may(now)
        slots = may.slots or 0
        use = LaneUse(
            requests_per_minute=may.requests_per_minute,
            tokens_per_minute=may.tokens_per_minute,
            slots=may.slots,
            in_flight=len(self.in_flight),
            most_in_flight=max(slots, len(self.in_flight)) if self.waiting else len(self.in_flight),
            sent_per_minute=(may.requests_per_minute or 0) if self.waiting else 0,
            tokens=int(may.tokens_per_minute or 0) if self.waiting else 0,
            waiting=self.waiting,
            wants_usd=self.wants,
            good=self.good,
        )
        number = self.lease.renews(self.clock(now))
        ceiling = max(self.ceiling(now), self.taken)
        return Renewal(self.name, self.lease.epoch, number, {LANE: use}, self.taken, ceiling)

    def take(self, grant: Grant, now: float) -> bool:
        if not self.alive or not self.lease.take(grant):
            return False
        granted = self.lease.ceiling_usd(self.clock(now))
        if granted is not None and granted < self.disk:
            self.disk = max(granted, self.taken)  # slack that it gives back
        return True


class World:
    """`check`s after whatever happens that no limit could be broken by any worker that does all it may."""

    def __init__(self, limits: LaneLimits, period_s: float = 2.0, limit_usd: Decimal | None = None) -> None:
        self.now = 0.0
        self.limits = limits
        self.period_s = period_s
        self.limit_usd = limit_usd
        self.workers: list[ModelWorker] = []
        self.begun: list[float] = []
        self._mail: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._ended_at = -math.inf  # when the holder of the one seat held a speed last
        self.recount_at: float | None = None
        self.epoch = 0
        self.limiter = self.open_driver(in_order=True)

    # --- what happens

    def join(self, drift: float = 0.0, offset: float = 0.0) -> ModelWorker:
        worker = ModelWorker(f"w{next(self._count)}", drift, offset)
        self.workers.append(worker)
        return worker

    def renew(self, worker: ModelWorker, there: Fate = PROMPT, back: Fate = PROMPT) -> None:
        renewal = worker.renewal(self.now)
        for delay_s in there.delays_s:
            self._post(delay_s, lambda: self._received(worker, renewal, back))
        self.wait(0.0)

    def _received(self, worker: ModelWorker, renewal: Renewal, back: Fate) -> None:
        limiter = self.limiter
        grant = limiter.renew(renewal, self.now)
        for delay_s in back.delays_s:
            self._post(delay_s, lambda: self._taken(worker, grant))

    def _taken(self, worker: ModelWorker, grant: Grant) -> None:
        held = worker.may(self.now)
        if worker.take(grant, self.now):
            self._note(worker, held)

    def _note(self, worker: ModelWorker, held: LaneGrant) -> None:
        may = worker.may(self.now)
        if may.tokens_per_minute:
            worker.peaks.append((math.inf, may.tokens_per_minute))
        if self._sends(may):
            is_new = not self._sends(held) and self.now - worker.held_at > MINUTE_S
            if is_new and worker.lease.epoch == self.epoch:  # a new driver knows nothing of the last one's
                self.begun.append(self.now)
            worker.held_at = self.now

    def wait(self, for_s: float) -> None:
        until = self.now + for_s
        while self._mail and self._mail[0][0] <= until:
            self.now, _, happen = heapq.heappop(self._mail)
            self._recount()
            happen()
            self.check()
        self.now = until
        self._recount()
        self.check()

    def send(self, worker: ModelWorker, count: int) -> None:
        """Requests leave, as far as the worker may send."""
        may = worker.may(self.now)
        if not self._sends(may):
            return
        for _ in range(count):
            if may.slots is None or len(worker.in_flight) < may.slots:
                worker.in_flight.append((self.now, worker.lease.epoch))
        self.check()

    def answer(self, worker: ModelWorker, *, good: bool) -> None:
        if worker.alive and worker.in_flight:
            worker.in_flight.pop(0)
            worker.good += good

    def spend(self, worker: ModelWorker, share: Decimal) -> None:
        """Takes a part of what it may take, with the ceiling on disk first."""
        if worker.alive and (ceiling := worker.ceiling(self.now)) > worker.taken:
            wanted = worker.taken + share * (ceiling - worker.taken)
            worker.disk = max(worker.disk, wanted)
            worker.taken = wanted
        self.check()

    def crash(self, worker: ModelWorker, *, known: bool) -> None:
        """The process is gone; `known` to the driver, or not: then the server may still work for it."""
        if known:
            worker.in_flight.clear()
        self._rest(worker)
        worker.alive = False
        if known:
            self.limiter.died(worker.name, self.now)
        self.check()

    def open_driver(self, *, in_order: bool) -> Limiter:
        """A new driver; the last one is gone, what it granted is not.

        In order: its workers are known to be dead, and what they did in the last minute is the last run's.
        """
        if in_order:
            for worker in self.workers:
                worker.in_flight.clear()
                worker.peaks.clear()
                worker.alive = False
        self.begun.clear()
        waits_s = 0.0 if in_order else quiet_s(ttl_s(self.period_s))
        self.epoch += 1
        money = None if self.limit_usd is None else SharedMoney(self.limit_usd, None)
        self.limiter = Limiter(
            {LANE: self.limits},
            ShardQueue([]),
            money,
            epoch=self.epoch,
            period_s=self.period_s,
            now=self.now,
            quiet_s=waits_s,
        )
        self.recount_at = self.now + waits_s
        self._recount()
        return self.limiter

    def calm(self, for_s: float) -> None:
        """All messages arrive, all requests are answered well, and nobody dies."""
        for _ in range(math.ceil(for_s / self.period_s)):
            alive = [worker for worker in self.workers if worker.alive]
            for worker in alive:
                self.send(worker, 1)
                while worker.in_flight:
                    self.answer(worker, good=True)
                self.renew(worker)
                self.wait(self.period_s / len(alive))

    def _recount(self) -> None:
        if self.recount_at is not None and self.now >= self.recount_at:
            self.recount_at = None
            if self.limit_usd is not None and self.limiter.money is not None:
                self.limiter.money.recount(self.limit_usd - sum((each.disk for each in self.workers), Decimal(0)))

    def _rest(self, worker: ModelWorker) -> None:
        worker.peaks = [(min(until, self.now + MINUTE_S), tokens) for until, tokens in worker.peaks]

    def _post(self, delay_s: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._mail, (self.now + delay_s, next(self._count), happen))

    # --- what must be true

    @staticmethod
    def _sends(may: LaneGrant) -> bool:
        return may.requests_per_minute is None or may.requests_per_minute > 0

    def grants(self) -> Iterator[LaneGrant]:
        return (worker.may(self.now) for worker in self.workers)

    def check(self) -> None:
        self._check_rate()
        self._check_tokens()
        self._check_slots()
        self._check_money()

    def _check_rate(self) -> None:
        rpm = self.limits.requests_per_minute
        if rpm is None:
            return
        speeds = [speed for may in self.grants() if (speed := may.requests_per_minute)]
        lately = sum(at > self.now - MINUTE_S for at in self.begun)
        if self.limits.seats == 1:
            assert len(speeds) <= 1, f"{len(speeds)} hold the one seat"
            assert sum(speeds) <= rpm
        else:
            most = rpm - 2 * (len(speeds) + lately)
            assert sum(speeds) <= most + 1e-6 or not speeds, f"I1: {sum(speeds)} a minute of {most}"
            assert len(speeds) <= max(1, rpm / 600), "I2: too many holders"

    def _check_tokens(self) -> None:
        tpm = self.limits.tokens_per_minute
        if tpm is None:
            return
        total = 0.0
        for worker in self.workers:
            held = worker.may(self.now).tokens_per_minute or 0
            # what it was granted before ends to count a minute after it could last be used
            used_until = min(self.now, worker.lease_ends()) + MINUTE_S
            worker.peaks = [
                (used_until if until == math.inf and tokens > held else until, tokens)
                for until, tokens in worker.peaks
                if until > self.now
            ]
            total += max((tokens for _, tokens in worker.peaks), default=0)
        assert total <= tpm + 1e-6, f"I8: {total} tokens of {tpm}"

    def _check_slots(self) -> None:
        limit, timeout_s = self.limits.max_concurrency, self.limits.timeout_s
        if limit is None:
            return
        total = 0
        for worker in self.workers:
            worker.in_flight = [each for each in worker.in_flight if each[0] > self.now - timeout_s]
            # what was sent under the last driver's leases a new one knows only as far as it is told
            in_flight = sum(epoch == self.epoch for _, epoch in worker.in_flight)
            total += max(worker.may(self.now).slots or 0, in_flight)
        assert total <= limit, f"I5: {total} slots of {limit}"
        if not any(worker.good for worker in self.workers):
            assert total <= 1, f"I9: {total} slots before the first answer"

    def _check_money(self) -> None:
        if self.limit_usd is not None:
            total = sum((worker.disk for worker in self.workers), Decimal(0))
            may = sum((worker.ceiling(self.now) for worker in self.workers), Decimal(0))
            assert total <= may <= self.limit_usd, f"I6: ${may} of ${self.limit_usd}"


HAPPENS = {"renew": 30, "wait": 20, "send": 10, "answer": 8, "spend": 8, "rows": 3, "end": 3}  # and how often


def storm(world: World, rng: random.Random, steps: int) -> None:
    """Whatever may happen, as it comes: mostly renewals, now and then the worst."""
    for _ in range(3):
        world.join(rng.uniform(-5e-4, 5e-4), rng.uniform(0, 1e6))
    world.calm(5 * world.period_s)
    for _ in range(steps):
        alive = [worker for worker in world.workers if worker.alive]
        happens = rng.choices(list(HAPPENS), list(HAPPENS.values()))[0]
        if happens == "wait" or not alive:
            world.wait(rng.choice([rng.uniform(0, 1), rng.uniform(0, 3), rng.uniform(0, 25)]))
        elif happens == "end":
            _end_something(world, rng, alive)
        else:
            _one_does(world, rng, rng.choice(alive), happens)


def _one_does(world: World, rng: random.Random, worker: ModelWorker, happens: str) -> None:
    if happens == "renew":
        world.renew(worker, _fate(rng), _fate(rng))
    elif happens == "send":
        world.send(worker, rng.randint(1, 40))
    elif happens == "answer":
        world.answer(worker, good=rng.random() < 0.8)
    elif happens == "spend":
        worker.wants = Decimal(rng.choice(["0", "0.05", "0.9"]))
        world.spend(worker, Decimal(rng.randint(1, 100)) / 100)
    else:
        worker.waiting = not worker.waiting


def _end_something(world: World, rng: random.Random, alive: list[ModelWorker]) -> None:
    match rng.choice(["crash", "silent", "join", "driver"]):
        case "crash":
            world.crash(rng.choice(alive), known=True)
        case "silent":
            world.crash(rng.choice(alive), known=False)
        case "driver":
            world.open_driver(in_order=False)
    if len(alive) < 6:
        world.renew(world.join(rng.uniform(-5e-4, 5e-4), rng.uniform(0, 1e6)))


def _fate(rng: random.Random) -> Fate:
    return rng.choice([PROMPT, PROMPT, Fate(()), Fate((rng.uniform(0, 9),)), Fate((0.0, rng.uniform(0, 9)))])
