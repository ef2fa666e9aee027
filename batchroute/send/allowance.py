"""What a lane may use of an endpoint and of the money: slots, requests and tokens a minute, a budget.

Plain synchronous decisions on a clock that the caller reads (seconds, monotonic). What the endpoint itself says,
a 429 or nothing at all, is not known here.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

from batchroute.send.rate import WINDOW_S
from batchroute.types import StopReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchroute.send.budget import Budget
    from batchroute.types import Usage

TOKEN_MARGIN = 1.008  # a window of tokens may be full to the last one, so it has no other slack


Lack: TypeAlias = Literal["slots", "money", "tokens"]


class OverBudget(Exception):
    """A request that can cost more than will ever be left; its text says what is."""


class Need(NamedTuple):
    """What one attempt may take at most; the money is that of a shard, 0 where there is none."""

    tokens: int
    usd: Decimal = Decimal(0)
    shard: int = 0


class Permit(NamedTuple):
    """Leave to send one attempt that has this need: a slot, tokens and `usd` reserved, until it is given back.

    More is reserved than what it needs where others were billed more than that.
    """

    need: Need
    usd: Decimal
    entry: TokenEntry | None


class Allowance(Protocol):
    """What a lane may use. May change at any time; whoever waits is told by the callback of `watch`."""

    @property
    def limits(self) -> EndpointLimits: ...

    @property
    def answered(self) -> bool:
        """Whether the endpoint is known to have answered others with whom it is shared."""
        ...

    def watch(self, changed: Callable[[], None]) -> None:
        """Calls `changed` whenever a wait may have become shorter for another reason than time."""
        ...

    def wait_s(self, need: Need, now: float) -> float:
        """0: `take` it now; else seconds until it is worth asking again, infinity: not before `changed`.

        Raises OverBudget where no wait will help.
        """
        ...

    def lack(self, need: Need, now: float) -> Lack | None:
        """What `wait_s` would wait for, or is over budget for; None: it may leave."""
        ...

    def take(self, need: Need, now: float) -> Permit: ...

    async def sendable(self) -> bool:
        """Returns when what was taken may be sent: at once, unless that has become a matter of time meanwhile.

        False: it may not be sent any more.
        """
        ...

    def give(
        self, permit: Permit, usage: Usage | None, now: float, *, unbilled: bool = False
    ) -> StopReason | None:
        """Takes a permit back with what the attempt used; `usage` None: unknown, so the money stays reserved.

        `unbilled`: nothing was billed, as nothing was sent or the server refused before any work. Returns why
        nothing more may be sent, where that is so.
        """
        ...


@dataclass(frozen=True, slots=True)
class EndpointLimits:
    """Of one lane: requests in flight, and requests and tokens a minute; None: unlimited."""

    max_concurrency: int
    requests_per_minute: float | None = None
    tokens_per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class Spending:
    """The budget that all lanes of a run share, the name of this one's endpoint and the price of its answers."""

    budget: Budget
    name: str
    cost: Callable[[Usage], Decimal | None]


@dataclass(slots=True)
class TokenWindow:
    """Tokens sent within the last 60 s, by estimate until the true usage is known.

    Requests that leave within the same `TOGETHER_S` share an entry, which counts as long as the last of them: at
    thousands a second, an entry for each would take more memory than the requests.
    """

    # Worked example, 1,000 a minute: a request of 700 tokens, by estimate, leaves at 0 s. One of 400 has no room
    # and would wait until 60.5 s. At 3 s the first is answered: it used 520 tokens, so the entry shrinks to
    # that, 480 are free, and the second leaves at once. One of 5,000 waits until the window is empty, then fills
    # it alone; those behind it go on when it has used less than it might, or was refused, else 60.5 s later.
    tokens_per_minute: int
    _sent: deque[TokenEntry] = field(default_factory=deque)
    _total: int = 0

    TOGETHER_S = 0.05

    def wait_s(self, tokens: int, now: float) -> float:
        """0 where `tokens` fit now; else how long until the window has room for more.

        A request larger than the whole limit waits for an empty window and then goes alone.
        """
        self._forget(now)
        if self._total <= max(self.tokens_per_minute - tokens, 0):
            return 0.0
        return self._sent[0].sent_at + WINDOW_S * TOKEN_MARGIN - now

    def total(self, now: float) -> int:
        """Sent within the last minute."""
        self._forget(now)
        return self._total

    def take(self, tokens: int, now: float) -> TokenEntry:
        """Counts a request that leaves now."""
        self._total += tokens
        if self._sent and self._sent[-1].sent_at // self.TOGETHER_S == now // self.TOGETHER_S:
            entry = self._sent[-1]
            entry.sent_at, entry.tokens = now, entry.tokens + tokens
            return entry
        entry = TokenEntry(now, tokens)
        self._sent.append(entry)
        return entry

    def correct(self, entry: TokenEntry, taken: int, used: int, now: float) -> None:
        """Puts the true usage of a request in the place of what it had taken."""
        if now - entry.sent_at < WINDOW_S * TOKEN_MARGIN and not entry.forgotten:
            self._total += used - taken
            entry.tokens += used - taken

    def _forget(self, now: float) -> None:
        while self._sent and now - self._sent[0].sent_at >= WINDOW_S * TOKEN_MARGIN:
            entry = self._sent.popleft()
            entry.forgotten = True
            self._total -= entry.tokens


@dataclass(slots=True)
class TokenEntry:
    sent_at: float  # the last of those that share it
    tokens: int
    forgotten: bool = False


class OwnLimits:
    """See `Allowance`: the limits of a job for one lane, which may be set anew while it runs.

    `serve` lowers them while a batch is at work: fewer slots than are taken means that none is free until enough
    have been given back.
    """

    # What a provider bills beyond a reservation is learnt. Worked example, a limit of $1: requests reserve $0.01
    # each, and the first is billed $0.04, as a more expensive model answered in the place of the one asked for.
    # From then on each reserves four times what it asks for, so that the last of them does not pass the limit. The
    # next run knows it from the ledger: its first request would else reserve $0.01, fit, and pass it.

    def __init__(self, limits: EndpointLimits, spending: Spending | None = None) -> None:
        self.in_flight = 0
        self._limits = limits
        self._spending = spending
        self._tokens = TokenWindow(limits.tokens_per_minute or 0)
        self._watchers: list[Callable[[], None]] = []

    @property
    def limits(self) -> EndpointLimits:
        return self._limits

    @property
    def answered(self) -> bool:
        return False

    def watch(self, changed: Callable[[], None]) -> None:
        self._watchers.append(changed)
        if self._spending is not None:
            self._spending.budget.watch(changed)

    def set(self, limits: EndpointLimits) -> None:
        """Takes these limits from now on; what is in flight stays so."""
        self._limits = limits
        self._tokens.tokens_per_minute = limits.tokens_per_minute or 0
        self._changed()

    def excess_s(self, now: float) -> float:
        """How long what is in use stays above limits that were lowered; infinity: until a permit is given back."""
        if self.in_flight > self._limits.max_concurrency:
            return math.inf
        return 0.0 if self._limits.tokens_per_minute is None else self._tokens.wait_s(0, now)

    def _changed(self) -> None:
        for changed in self._watchers:
            changed()

    def wait_s(self, need: Need, now: float) -> float:
        if self.in_flight >= self._limits.max_concurrency:
            return math.inf
        if self._spending is not None:
            most_usd = self.most_usd(need)
            if not self._spending.budget.fits(most_usd):
                return self._wait_for_money(self._spending.budget, most_usd)
        return 0.0 if self._limits.tokens_per_minute is None else self._tokens.wait_s(need.tokens, now)

    def lack(self, need: Need, now: float) -> Lack | None:
        if self.in_flight >= self._limits.max_concurrency:
            return "slots"
        if self._spending is not None and not self._spending.budget.fits(self.most_usd(need)):
            return "money"
        is_limited = self._limits.tokens_per_minute is not None
        return "tokens" if is_limited and self._tokens.wait_s(need.tokens, now) > 0 else None

    def most_usd(self, need: Need) -> Decimal:
        """What is reserved for a request that needs so much."""
        spending = self._spending
        return need.usd if spending is None else need.usd * spending.budget.overbilled(spending.name)

    def tokens_lately(self, now: float) -> int:
        """Sent within the last minute."""
        return self._tokens.total(now)

    def _wait_for_money(self, budget: Budget, usd: Decimal) -> float:
        """Answers in flight may cost less than was reserved for them; without any there is nothing to wait for."""
        if not budget.idle:
            return math.inf
        held = f", ${budget.unconfirmed:.4f} are unconfirmed" if budget.unconfirmed else ""
        raise OverBudget(
            f"limits.max_cost_usd: the next row may cost ${usd:.4f}, ${budget.left:.4f} are left{held}"
        )

    def take(self, need: Need, now: float) -> Permit:
        reserved = self.most_usd(need)
        if self._spending is not None:
            self._spending.budget.reserve(reserved, need.shard)
        self.in_flight += 1
        entry = None if self._limits.tokens_per_minute is None else self._tokens.take(need.tokens, now)
        return Permit(need, reserved, entry)

    async def sendable(self) -> bool:
        return True

    def give(
        self, permit: Permit, usage: Usage | None, now: float, *, unbilled: bool = False
    ) -> StopReason | None:
        self.in_flight -= 1
        used = tokens_used(usage, unbilled=unbilled)
        if permit.entry is not None and used is not None:
            self._tokens.correct(permit.entry, permit.need.tokens, used, now)
        over = None if self._spending is None else self._pay(self._spending, permit, usage, unbilled=unbilled)
        self._changed()
        return over

    def _pay(
        self, spending: Spending, permit: Permit, usage: Usage | None, *, unbilled: bool
    ) -> StopReason | None:
        """Settles a reservation with what the attempt cost; of unknown cost it stays taken."""
        need = permit.need
        cost = None if usage is None else spending.cost(usage)
        if cost is None and unbilled:
            cost = Decimal(0)
        if cost is None:
            spending.budget.lose(permit.usd, need.shard)
            return None
        spending.budget.spend(permit.usd, cost, need.shard)
        if cost > need.usd > 0:
            spending.budget.learn_overbilled(spending.name, cost / need.usd, need.shard)
        if spending.budget.overshot:
            return StopReason(
                "limits.max_cost_usd is passed",
                "an answer was billed more than its request allowed",
                "raise limits.max_cost_usd to go on",
            )
        return None


def tokens_used(usage: Usage | None, *, unbilled: bool) -> int | None:
    """What counts against a limit in the end; None where that is not known."""
    if usage is not None and usage.prompt_tokens is not None:
        return usage.prompt_tokens + (usage.completion_tokens or 0)
    return 0 if unbilled else None
