"""The money of a run, of which each worker may take up to a ceiling: by what all may have taken, never too much.

Knows amounts in USD and workers by name; what rows cost, and what stands in which ledger, is known elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchroute.lease.messages import Renewal

PRECISION = Decimal("0.000001")
SLACK = Decimal("0.02")  # of the limit: what all ceilings together leave open, for rows that are not yet sent


@dataclass(slots=True)
class _Purchase:
    """One worker's account, by its own count since it began.

    `base` is what the driver already knew of that, as it stood in ledgers; `ceiling` how far `taken` may have gone
    or may go; `wants` what the next row of each lane needs that did not fit.
    """

    base: Decimal
    taken: Decimal
    ceiling: Decimal
    idle: bool = True
    still: bool = True  # nothing in flight, and nothing can be sent before the next grant
    wants: dict[str, Decimal] = field(default_factory=dict)
    here: bool = True

    @property
    def slack(self) -> Decimal:
        return self.ceiling - self.taken


class SharedMoney:
    """What is left of `limit_usd` when the driver begins, as all ledgers say, is shared by ceilings.

    Invariant: what all workers may take is at most what was left. A ceiling that a worker was granted counts until
    it says a lower one, whatever becomes of it: it may stand in a ledger on disk.
    """

    # Worked example, a limit of $100, $10 left, 4 workers: each may take $0.50 more than it has taken (2 % of the
    # limit, by 4), so at most $2 lie open at any time. Near the end $0.06 are left, $0.03 open at each of A and B,
    # whose next rows need $0.05 each. A renews: it lacks $0.02, nothing is free, so it gives its $0.03 back and
    # waits. B renews: it gets $0.02 of these, and sends. It is billed $0.01, its next row needs $0.05 again: of
    # the $0.05 that are left B's part is $0.04, and $0.01 is free, so it is granted once more; and so on, until
    # nothing is in flight anywhere and no next row fits.

    def __init__(self, limit_usd: Decimal, left_usd: Decimal | None) -> None:
        """`left_usd` None: not known while old leases may hold; nothing is granted until it is `recount`ed."""
        self._limit = limit_usd
        self._left = left_usd
        self._accounts: dict[str, _Purchase] = {}
        self._forget()

    @property
    def free(self) -> Decimal:
        """What nobody may take."""
        if self._left is None:
            return Decimal(0)
        return self._left - self._granted

    def recount(self, left_usd: Decimal) -> None:
        """What is left by the ledgers once no worker of an earlier driver can raise a ceiling any more."""
        self._left = left_usd
        self._accounts.clear()
        self._forget()

    def hear(self, renewal: Renewal, epoch: int) -> None:
        """Takes note of what a worker has taken, how far it may go, and what it lacks."""
        # Worked example, a worker that outlived its driver: it says $3 taken and a ceiling of $4, by a lease of
        # the last driver; on disk are $3.20, which `recount` has counted. It is answered $3, and says then, in
        # this epoch, a ceiling of $3.20: its base. What it goes beyond that is taken from what is left.
        account = self._accounts.get(renewal.worker)
        if account is None:
            if renewal.epoch != epoch and renewal.ceiling_usd > 0:
                return
            account = _Purchase(renewal.ceiling_usd, renewal.taken_usd, renewal.ceiling_usd)
            self._accounts[renewal.worker] = account
        else:
            self._count(account, -1)
        account.taken = renewal.taken_usd
        account.ceiling = max(min(account.ceiling, renewal.ceiling_usd), renewal.taken_usd)
        in_flight = any(use.in_flight for use in renewal.lanes.values())
        account.wants = {name: use.wants_usd for name, use in renewal.lanes.items() if use.wants_usd > 0}
        account.idle = not (in_flight or account.wants or any(use.waiting for use in renewal.lanes.values()))
        account.still = not in_flight and account.slack == 0
        account.here = True
        self._count(account, 1)

    def lacking(self, worker: str) -> set[str]:
        """The lanes of the worker, after it has been heard, whose next row does not fit into what is left."""
        account = self._accounts.get(worker)
        if account is None:
            return set()
        room = account.slack + max(Decimal(0), self.free)
        return {lane for lane, usd in account.wants.items() if usd > room}

    def grant(self, worker: str, taken_usd: Decimal, *, can_send: bool) -> Decimal:
        """How far the worker may go, after it has been heard; one that can send nothing has no use for money."""
        account = self._accounts.get(worker)
        if account is None or self._left is None:
            return taken_usd
        room = account.slack + max(Decimal(0), self.free)
        fitting = [usd for usd in account.wants.values() if usd <= room]
        if account.idle or not can_send or (account.wants and not fitting):
            return account.taken
        slack = max(min(self._fair_slack(account), room), *fitting, Decimal(0))
        granted = account.taken + slack
        self._count(account, -1)
        account.ceiling = max(account.ceiling, granted)
        account.still = account.still and slack == 0
        self._count(account, 1)
        return granted

    def left(self, worker: str) -> None:
        """Nothing more is heard of the worker. What it may have taken, it may have."""
        account = self._accounts.get(worker)
        if account is not None:
            self._count(account, -1)
            account.here = False
            self._count(account, 1)

    def spent_up(self) -> dict[str, str]:
        """The lanes that end, and why: nothing is in flight or can be, and no worker's next row fits.

        The caller knows whether requests of workers that were lost may be in flight.
        """
        if self._left is None or self._moving:
            return {}
        here = [each for each in self._accounts.values() if each.here]
        wants = [usd for each in here for usd in each.wants.values()]
        free = self.free
        if not wants or min(wants) <= free:
            return {}
        said = "limits.max_cost_usd: the next row may cost ${:.4f}, ${:.4f} are left"
        return {
            name: said.format(min(each.wants[name] for each in here if name in each.wants), max(Decimal(0), free))
            for name in {name for each in here for name in each.wants}
        }

    def _fair_slack(self, account: _Purchase) -> Decimal:
        """An equal part of what may lie open, of which others may still hold more than theirs."""
        unused = SLACK * self._limit - self._slack
        fair = (SLACK * self._limit / max(1, self._spending)).quantize(PRECISION, ROUND_DOWN)
        return min(fair, account.slack + max(Decimal(0), unused))

    def _forget(self) -> None:
        self._granted = self._slack = Decimal(0)
        self._spending = self._moving = 0

    def _count(self, account: _Purchase, sign: int) -> None:
        """Adds an account to the sums over all, or takes it from them before it changes."""
        self._granted += sign * (account.ceiling - account.base)
        if account.here:
            self._slack += sign * account.slack
            self._spending += sign * (not account.idle)
            self._moving += sign * (not account.still)
