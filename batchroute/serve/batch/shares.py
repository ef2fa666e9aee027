"""What live requests and batches share: an endpoint's limits and the job's money. Knows no requests and no HTTP.

A batch's worker is a process of its own, so the two sides cannot count together. They divide each limit into two
parts that add up to it. The worker always keeps to its part; the live side has the whole limit while no worker is
at work, and takes up its own part before one starts (`Lease`).

Worked example: max_concurrency 8, tokens_per_minute 1,000, --batch-share 0.5, and 7 live requests in flight when a
batch comes. The live limits become 4 and 500. Nothing more is sent until 4 of the 7 are back; as they sent 800
tokens within the last minute, the worker also waits until all but 500 of them are a minute old, or it could send
500 more in a minute that had 800. Then it starts. When it ends and no other batch waits, the live side has 8 slots
again at once, and 1,000 tokens a minute later, when those of the worker are out of the window. Requests a minute
need no such wait: both sides send them evenly, so that at any moment the rates add up to the limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from dataclasses import asdict, dataclass, fields, replace
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from batchroute.errors import UsageFault
from batchroute.send.allowance import TOKEN_MARGIN, EndpointLimits
from batchroute.send.budget import Account, Budget
from batchroute.send.open import asks_for_vectors, endpoint_limits
from batchroute.send.rate import WINDOW_S
from batchroute.store.files import saving
from batchroute.store.ledger import read_ledger, write_ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from batchroute.job.spec import Endpoints, Job, RouterSpec
    from batchroute.send.allowance import OwnLimits
    from batchroute.store.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Shares:
    """The limits of one endpoint, and the two parts that add up to them."""

    whole: EndpointLimits
    live: EndpointLimits
    batch: EndpointLimits


def divide(whole: EndpointLimits, batch_share: float, section: str) -> Shares:
    """UsageFault, naming the job's `section`, where a limit is too small for two parts."""
    live, batch = {}, {}
    for limit in fields(whole):
        value = getattr(whole, limit.name)
        if value is None:
            continue
        batch[limit.name] = max(1, int(value * batch_share))
        live[limit.name] = value - batch[limit.name]
        if live[limit.name] <= 0:
            raise UsageFault(
                f"{section}.{limit.name}: {value} cannot be divided between requests and batches; raise it, or "
                "turn batches off with --batch-share 0"
            )
    return Shares(whole, replace(whole, **live), replace(whole, **batch))


def divide_endpoints(endpoints: Endpoints, batch_share: float) -> dict[str, Shares]:
    """By endpoint."""
    return {
        name: divide(endpoint_limits(spec), batch_share, f"endpoints.{name}") for name, spec in endpoints.items()
    }


def divide_router(router: RouterSpec, batch_share: float) -> tuple[RouterSpec, RouterSpec]:
    """The routers of live requests and of batches: each keeps to its part of the embedder's limits for good."""
    if not asks_for_vectors(router):
        return router, router
    shares = divide(endpoint_limits(router.embedder), batch_share, "router.embedder")
    live, batch = (router.embedder.model_copy(update=asdict(limits)) for limits in (shares.live, shares.batch))
    return router.model_copy(update={"embedder": live}), router.model_copy(update={"embedder": batch})


def batch_part(job: Job, batch_share: float) -> Job:
    """The job with the limits that a batch's worker has."""
    shares = divide_endpoints(job.endpoints, batch_share)
    specs = {name: spec.model_copy(update=asdict(shares[name].batch)) for name, spec in job.endpoints.items()}
    _, router = divide_router(job.router, batch_share)
    return job.model_copy(update={"router": router, "endpoints": job.endpoints.model_copy(update=specs)})


class Lease:
    """Gives the batch part of the endpoints' limits to a worker, and takes it back.

    It is given from the start: a worker may still be there whose server died.
    """

    def __init__(
        self,
        allowances: Mapping[str, OwnLimits],
        shares: Mapping[str, Shares],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`allowances` are those of the live side, with the limits that `shares` has as the whole."""
        self._allowances = allowances
        self._shares = shares
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        for allowance in allowances.values():
            allowance.watch(self._changed.set)
        self._keep_to_part()

    async def give(self) -> None:
        """Returns when the live side is down to its part."""
        self._keep_to_part()
        for allowance in self._allowances.values():
            while (wait_s := allowance.excess_s(self._clock())) > 0:
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), None if math.isinf(wait_s) else wait_s)

    def take_back(self) -> None:
        """When no worker is at work: all but tokens at once, tokens when the worker's last minute is over."""
        if self._timer is None:
            for name, allowance in self._allowances.items():
                shares = self._shares[name]
                allowance.set(replace(shares.whole, tokens_per_minute=shares.live.tokens_per_minute))
            self._timer = asyncio.get_running_loop().call_later(WINDOW_S * TOKEN_MARGIN, self._take_tokens_back)

    def _keep_to_part(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for name, allowance in self._allowances.items():
            allowance.set(self._shares[name].live)

    def _take_tokens_back(self) -> None:
        for name, allowance in self._allowances.items():
            allowance.set(self._shares[name].whole)


def open_live_budget(limit: Decimal, state: Path) -> Budget:
    """limits.max_cost_usd over all that a server's live requests cost, over all its runs on one state directory.

    A run's results say what was spent. Here nothing but the ledger does: while the server is at work its ceiling
    covers what is spent, and after a crash all of it counts as spent; the last ledger has no ceiling and holds the
    money spent itself. With a limit of $1 and $0.30 spent, the file says {unconfirmed 0, ceiling 0.302} while the
    server is at work and {unconfirmed 0.30} once it has closed; the next one starts with $0.698 or $0.70 left.
    """
    path = state / "ledger.json"

    def save(ledger: Ledger) -> None:
        if ledger.ceiling is None:
            ledger = msgspec.structs.replace(ledger, unconfirmed=ledger.unconfirmed + account.spent)
        with saving(path):
            write_ledger(path, ledger)

    account = Account(Decimal(0), read_ledger(path), save)
    return Budget(limit, account)
