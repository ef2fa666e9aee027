"""Simulated providers for synchronous tests: in a thread of this process, or as a process of their own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import urllib.request
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from batchroute.simulate.behaviour import Behaviour
from batchroute.simulate.server import Simulator, start
from batchroute.simulate.traffic import Stats

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

ANSWER_S = 60.0  # a provider that does not answer its own tests for that long is broken
SERVE = (
    "import sys, msgspec; from batchroute.simulate.behaviour import Behaviour; "
    "from batchroute.simulate.server import serve; "
    "from batchroute.run.process import raise_file_limit; raise_file_limit(None); "
    "serve(msgspec.json.decode(sys.argv[1], type=Behaviour), int(sys.argv[2]))"
)


@dataclass(frozen=True)
class ThreadedSimulator:
    """A `Simulator` that lives in another thread; every method waits until it is done there."""

    simulator: Simulator
    loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        return self.simulator.url

    @property
    def port(self) -> int:
        return self.simulator.port

    def stats(self) -> Stats:
        stats: Stats = self._there(_asynchronously(self.simulator.stats))
        return stats

    def control(self, changes: dict[str, Any] | None = None, reset: bool = False) -> None:
        self._there(_asynchronously(self.simulator.control, changes or {}, reset))

    def refuse(self) -> None:
        self._there(self.simulator.refuse())

    def listen(self) -> None:
        self._there(self.simulator.listen())

    def _there(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(ANSWER_S)


async def _asynchronously(work: Any, *args: Any) -> Any:
    return work(*args)


@contextmanager
def threaded_simulator(behaviour: Behaviour | None = None, port: int = 0) -> Iterator[ThreadedSimulator]:
    """A provider in a thread, so that the test can block, or run commands against it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="simulator", daemon=True)
    thread.start()
    try:
        stack = AsyncExitStack()
        work = stack.enter_async_context(start(behaviour or Behaviour(), port))
        simulator = asyncio.run_coroutine_threadsafe(work, loop).result(ANSWER_S)
        try:
            yield ThreadedSimulator(simulator, loop)
        finally:
            asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(ANSWER_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(ANSWER_S)
        loop.close()


@dataclass(frozen=True)
class SimulatorProcess:
    """A provider in a process of its own, spoken to over HTTP only; `process` is there to be signalled."""

    process: subprocess.Popen[str]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def stats(self) -> Stats:
        return msgspec.json.decode(self._ask("/stats"), type=Stats)

    def control(self, changes: dict[str, Any] | None = None, reset: bool = False) -> None:
        self._ask("/control", json.dumps({**(changes or {}), "reset": reset}).encode())

    def _ask(self, path: str, body: bytes | None = None) -> bytes:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"http://127.0.0.1:{self.port}{path}", body, ANSWER_S) as answer:
            return bytes(answer.read())


@contextmanager
def simulator_process(behaviour: Behaviour | None = None, port: int = 0) -> Iterator[SimulatorProcess]:
    """A provider that costs this process nothing, and that can be killed."""
    settings = json.dumps(asdict(behaviour or Behaviour()))
    command = [sys.executable, "-c", SERVE, settings, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield SimulatorProcess(process, json.loads(process.stdout.readline())["port"])
        finally:
            process.terminate()
            process.wait(ANSWER_S)
