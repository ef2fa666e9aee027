"""What runs in each of a cluster's actors: a worker, and the mailbox at which the driver fetches its renewals.

An actor's process gets the job and nothing else: its keys are in the environment of its own machine. Knows no Ray,
which makes an actor of `WorkerActor`, and not what a worker does.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias

from batchroute.run.process import rare_collections
from batchroute.run.workers.mailbox import Mailbox
from batchroute.run.workers.nodes import answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from batchroute.run.workers.messages import Exchange

    Work: TypeAlias = Callable[[bytes, Exchange, asyncio.Event], Awaitable[None]]


class WorkerActor:
    """Its methods run in one event loop, which is Ray's: signals are none of the worker's matter."""

    def __init__(self) -> None:
        self._mailbox = Mailbox()

    async def look(self, question: bytes) -> bytes:
        """What `nodes` asks; an actor may have begun on a machine that joined the cluster later."""
        return answer(question)

    async def work(self, work: Work, order: bytes) -> None:
        """The worker, until it ends. An actor dies with its driver, so nobody has to say that it is gone."""
        try:
            with rare_collections:
                await work(order, self._mailbox.exchange, asyncio.Event())
        finally:
            self._mailbox.end()

    async def fetch(self, number: int, grant: bytes | None) -> tuple[int, bytes] | None:
        """See `Mailbox`."""
        return await self._mailbox.fetch(number, grant)
