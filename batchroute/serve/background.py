"""An event loop in a thread of its own, with the endpoints in it, for callers that have no loop or another one."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from batchroute.errors import Unanswered
from batchroute.job.secrets import Scrubber
from batchroute.serve.forward import LiveEndpoints, open_live_endpoints
from batchroute.serve.scoring import JointScoring

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from batchroute.send.budget import Budget
    from batchroute.serve.settings import LoadedRouter, ModelPair

Value = TypeVar("Value")


class BackgroundLoop:
    """Runs from its making until `close`; `live` and `scorings` may only be used inside its loop."""

    def __init__(self, pair: ModelPair, routers: Mapping[str, LoadedRouter], budget: Budget | None) -> None:
        self.scorings = {
            name: JointScoring(router.scorer, router.rater_opener(pair, budget), _discard)
            for name, router in routers.items()
        }
        self._closed = False
        self._submitting = threading.Lock()
        self._closing = asyncio.Event()
        self._asking: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        opened: Future[LiveEndpoints] = Future()
        arguments = (pair, budget, opened)
        self._thread = threading.Thread(target=self._work, args=arguments, name="batchroute", daemon=True)
        self._thread.start()
        self.live = opened.result()

    def submit(self, work: Coroutine[Any, Any, Value]) -> Future[Value]:
        """What comes of work in the loop, for another thread to wait for; Unanswered once it is closed.

        Whatever is submitted before `close` is begun in the loop before the loop closes, so it has an end.
        """
        with self._submitting:
            if not self._closed:
                return asyncio.run_coroutine_threadsafe(self._tracked(work), self._loop)
        work.close()
        raise Unanswered("the controller was closed", "stopped", 503)

    def close(self) -> None:
        """Abandons what is under way, closes the connections, ends the thread; once."""
        with self._submitting:
            if self._closed:
                return
            self._closed = True
            self._loop.call_soon_threadsafe(self._closing.set)
        if threading.current_thread() is not self._thread:  # the last reference may be dropped in any thread
            self._thread.join()

    async def _tracked(self, work: Coroutine[Any, Any, Value]) -> Value:
        task = asyncio.ensure_future(work)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        return await task

    def _work(self, pair: ModelPair, budget: Budget | None, opened: Future[LiveEndpoints]) -> None:
        with contextlib.closing(self._loop):
            try:
                self._loop.run_until_complete(self._serve(pair, budget, opened))
            except Exception as error:
                if opened.done():
                    raise
                opened.set_exception(error)

    async def _serve(self, pair: ModelPair, budget: Budget | None, opened: Future[LiveEndpoints]) -> None:
        """Until `close`; then what is under way ends first, with an error."""
        scrub = Scrubber(secret.reveal() for secret in pair.secrets())
        async with contextlib.AsyncExitStack() as stack:
            live = await open_live_endpoints(
                pair.endpoints, pair.limits, pair.environ(), scrub, stack, _discard, budget
            )
            working = [asyncio.create_task(scoring.run()) for scoring in self.scorings.values()]
            opened.set_result(live)
            await self._closing.wait()
            live.close()
            if self._asking:
                await asyncio.wait(self._asking)
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)


def _discard(reason: str) -> None:
    """Why a lane rests, or what a router raised, is in the error of every request that it concerns."""
