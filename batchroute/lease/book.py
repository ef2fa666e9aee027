"""What workers may be using of one limit, at most: amounts count until it is known that they are used no longer.

Knows no messages and no reasons; all times are seconds on the driver's clock.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from itertools import takewhile


@dataclass(slots=True)
class _Held:
    """What one worker may be using now; and more than that, as long as each amount of `resting` counts.

    `resting` is (until, amount), amounts falling, so that the first is what counts.
    """

    amount: float = 0.0
    resting: deque[tuple[float, float]] = field(default_factory=deque)

    @property
    def counted(self) -> float:
        return max(self.amount, self.resting[0][1]) if self.resting else self.amount

    def rest(self, amount: float, until: float) -> None:
        while self.resting and self.resting[-1][1] <= amount:
            self.resting.pop()
        self.resting.append((until, amount))


class Book:
    """Amounts by worker, whose total never exceeds what the caller grants.

    `rests_s`: how long what a worker gave up still counts as its own; it may have it back at any time.
    """

    # Worked example, slots, a limit of 10: A was granted 10. B asks. A's next renewal is granted 5, but the grant
    # may be lost, so 10 count, and B is granted nothing. A's renewal after that says that it may use 5, and has 7
    # in flight: 7 count, B gets 3. A is not heard of any more: its lease ends, but 7 count until no request can be
    # in flight any longer, or until its process is known to be dead.
    #
    # Tokens, rests_s 61, a limit of 10,000: A sends all of its 10,000 at 0 s, and says at 2 s that it may use
    # 5,000. In the minute up to 60 s it has still sent 10,000, so B's 5,000 wait until 63 s.

    def __init__(self, rests_s: float = 0.0) -> None:
        self.total = 0.0
        self._rests_s = rests_s
        self._held: dict[str, _Held] = {}
        self._ends: list[tuple[float, str]] = []
        self._asking: dict[str, float] = {}  # who holds nothing and wants so much, in the order they asked

    def __len__(self) -> int:
        """How many workers hold something."""
        return len(self._held)

    def of(self, worker: str) -> float:
        held = self._held.get(worker)
        return 0.0 if held is None else held.counted

    def expire(self, now: float) -> None:
        """Frees what has rested until now; to be called before anything is granted."""
        while self._ends and self._ends[0][0] <= now:
            _, worker = heapq.heappop(self._ends)
            if (held := self._held.get(worker)) is not None:
                before = held.counted
                while held.resting and held.resting[0][0] <= now:
                    held.resting.popleft()
                self._changed(worker, held, before)

    def said(self, worker: str, amount: float, now: float) -> None:
        """The worker may use no more than this from now on."""
        self.free(worker, min(amount, self.of(worker)), now, self._rests_s)

    def found(self, worker: str, amount: float) -> None:
        """So much is in use, whether or not it was granted."""
        if amount > self.of(worker):
            self._set(worker, amount)

    def grant(self, worker: str, wanted: float, limit: float, least: float = 0.0) -> float:
        """What the worker may use, of `wanted`, so that the total stays within the limit.

        A smaller share than it holds counts only when it is `said`. Who holds nothing gets at least `least` or
        nothing. What those wait for who hold nothing, and asked before, is left to them.
        """
        held = self.of(worker)
        free = limit - self.total
        room = held + (max(0.0, free - self._owed_before(worker)) if free > 0 else free)
        granted = max(0.0, min(wanted, room))
        if held == 0 and granted < least:
            granted = 0.0
        if held == 0 and granted == 0 and wanted > 0:
            self._asking[worker] = wanted
        else:
            self.withdraw(worker)
        if granted > held:
            self._set(worker, granted)
        elif worker in self._held and granted > self._held[worker].amount:
            self._held[worker].amount = granted  # it has back what had only been resting
        return granted

    def withdraw(self, worker: str) -> None:
        """The worker asks for nothing."""
        self._asking.pop(worker, None)

    def _owed_before(self, worker: str) -> float:
        return sum(wanted for _, wanted in takewhile(lambda asker: asker[0] != worker, self._asking.items()))

    def free(self, worker: str, amount: float, now: float, after_s: float) -> None:
        """The worker uses no more than `amount` from now on, and what it used beyond that counts for `after_s`."""
        held = self._held.get(worker)
        if held is None:
            return
        before = held.counted
        if after_s > 0 and held.amount > amount:
            held.rest(held.amount, now + after_s)
            heapq.heappush(self._ends, (now + after_s, worker))
        elif after_s <= 0:
            held.resting.clear()
        held.amount = amount
        self._changed(worker, held, before)

    def _set(self, worker: str, amount: float) -> None:
        held = self._held.setdefault(worker, _Held())
        before, held.amount = held.counted, amount
        self._changed(worker, held, before)

    def _changed(self, worker: str, held: _Held, before: float) -> None:
        self.total += held.counted - before
        if held.counted <= 0:
            del self._held[worker]
        if not self._held:
            self.total = 0.0  # no hair that sums of fractions leave behind
