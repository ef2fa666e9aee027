"""A job from source to store: the only place where the parts are put together.

    source -> scoring -> scores/ -> a feed per lane -> lane -> journal -> results/

Scoring and the two lanes run side by side and meet only on disk. Decides nothing about scores, speed or answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import signal
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from batchroute.budget import Budget, read_ledger, write_ledger
from batchroute.directory import open_run_directory
from batchroute.dispatch import Lane, LaneLimits, Purse
from batchroute.endpoint import Address, Endpoint, api_url, open_session, proxy_for, request_headers
from batchroute.errors import BatchrouteError, RunFault, Stopped, UsageFault
from batchroute.estimate.estimator import budget_threshold
from batchroute.feed import Feed
from batchroute.keys import endpoint_secrets
from batchroute.parts import RESULT_NAMES
from batchroute.prices import find_pricing
from batchroute.progress import Progress
from batchroute.results import Asked, left_open, never_sent, settled
from batchroute.scoring import Scoring, share_threshold
from batchroute.scrub import Scrubber
from batchroute.simulate import Behaviour
from batchroute.simulate import start as start_simulator
from batchroute.source import open_source
from batchroute.store import locked, saving
from batchroute.types import SIDES, Side

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

    from batchroute.budget import Ledger
    from batchroute.classify import Answer
    from batchroute.directory import RunDirectory
    from batchroute.dispatch import OpenRow, Outcome, Request
    from batchroute.job import EndpointSpec, InputSpec, Job, RouterSpec
    from batchroute.router import Scorer
    from batchroute.source import Source
    from batchroute.types import Result

SPARE_FILES = 64  # handles for everything that is no connection


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a run is told beside the job: the environment with its keys, the flags, whom to tell what.

    `watch` shows the progress until it is cancelled; `say` takes a message that the user must see at once;
    `begin` is called when there is something to ask, `conclude` when all rows are safe; no signal ends the process
    meanwhile.
    """

    environ: Mapping[str, str]
    limit: int | None = None
    retry_refused: bool = False
    watch: Callable[[Progress], Awaitable[None]] | None = None
    say: Callable[[str], None] = lambda message: None
    begin: Callable[[], None] = lambda: None
    conclude: Callable[[RunEnd], None] = lambda end: None


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended; the rows are those of the whole directory.

    `stopped` holds why a lane, or the run, ended early; `signal` the number of the signal that ended it; `asked`
    is False for a job that was complete before.
    """

    rows: int | None
    ok: int
    refused: int
    failed: int
    wall_s: float
    asked: bool
    unconfirmed_usd: float | None = None
    stopped: tuple[str, ...] = ()
    signal: int | None = None

    @property
    def complete(self) -> bool:
        return self.failed == 0 and self.rows is not None and self.ok + self.refused >= self.rows

    def exit_code(self, ok_if_refused: float) -> int:
        """SPEC's table; `ok_if_refused` is the share of refused rows that is put up with."""
        if self.signal is not None:
            return 128 + self.signal
        if self.stopped:
            return Stopped.exit_code
        put_up_with = self.refused <= ok_if_refused * (self.ok + self.refused)
        return 0 if self.failed == 0 and put_up_with else 3


def open_input(spec: InputSpec, router: RouterSpec, output: Path | None) -> Source:
    """A job's input, looked at but not read; `output` is the run's directory where there is to be one."""
    embedder = router.embedder
    return open_source(
        spec,
        score_text=router.text,
        vector_column=embedder.column if embedder.use == "column" else None,
        reserved=RESULT_NAMES,
        output=output,
    )


def load_scorer(router: RouterSpec) -> Scorer:
    """A job's router. It brings torch, so this is called only where something is to be scored."""
    from batchroute.router import load_scorer as load  # noqa: PLC0415 - imports torch

    return load(router)


def run_job(job: Job, options: RunOptions) -> RunEnd:
    """Runs a job to its end, or as far as the world lets it; blocks.

    Raises UsageFault before anything is sent, Stopped where a run cannot begin or can no longer save.
    """
    with asyncio.Runner(loop_factory=loop_factory()) as runner, rare_collections():
        return runner.run(arun_job(job, options))


async def arun_job(job: Job, options: RunOptions) -> RunEnd:
    """As `run_job`, inside a running event loop whose signals it handles meanwhile."""
    refuse_unbuilt(job)
    refuse_unpriced(job)
    path = Path(job.output.path)
    source = open_input(job.input, job.router, path)
    raise_file_limit(sum(job_endpoint(job, side).max_concurrency for side in SIDES))
    with locked(path, int(job.output.mode, 8)):
        run = _open_run(job, source, options)
        try:
            return await run.go()
        except BaseExceptionGroup as group:
            raise _cause(group) from group
        finally:
            run.store.close()


def refuse_unbuilt(job: Job) -> None:
    """UsageFault for settings that are part of the job file's format but that this version cannot honour yet."""
    unbuilt = {
        "input.reuse": bool(job.input.reuse),
        "limits.on_budget": job.limits.on_budget != "stop",
    }
    if any(unbuilt.values()):
        names = ", ".join(name for name, used in unbuilt.items() if used)
        raise UsageFault(f"{names}: not in this version; remove it")


def refuse_unpriced(job: Job) -> None:
    """UsageFault where a budget is to hold for a model whose price nobody knows."""
    budgets = {
        "limits.max_cost_usd": job.limits.max_cost_usd is not None,
        "routing.budget_usd": job.routing.budget_usd is not None,
    }
    unknown = [side for side in SIDES if asked_of(job, side).pricing is None]
    if any(budgets.values()) and unknown:
        budget = next(name for name, used in budgets.items() if used)
        names = ", ".join(f"endpoints.{side}.price" for side in unknown)
        raise UsageFault(f"{budget} needs prices: set {names}, in USD per million tokens")


def job_endpoint(job: Job, side: Side) -> EndpointSpec:
    return job.endpoints.strong if side == "strong" else job.endpoints.weak


def asked_of(job: Job, side: Side) -> Asked:
    """Whom a lane asks, and the price of it."""
    spec = job_endpoint(job, side)
    host = urlsplit(spec.base_url).hostname if spec.base_url else None
    return Asked(side, spec.model, find_pricing(spec.model, spec.price, host))


def raise_file_limit(connections: int) -> None:
    """Lets the process open as many connections as the job may; UsageFault where the system does not."""
    needed = connections + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise UsageFault(
            f"max_concurrency adds up to {connections}, but this system allows {hard} open files; "
            "lower it, or raise the limit (ulimit -Hn)"
        )
    if needed > soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


@contextlib.contextmanager
def rare_collections() -> Iterator[None]:
    """Rows in flight are many long-lived objects; the collector's many looks at them would double their cost."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The faster event loop where there is one."""
    try:
        import uvloop  # noqa: PLC0415 - not everywhere
    except ImportError:
        return None
    return uvloop.new_event_loop


def _cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error to show: what the user can act on before what is a bug."""
    leaves = list(_leaves(group))
    return next((error for error in leaves if isinstance(error, BatchrouteError)), leaves[0])


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]


def _open_run(job: Job, source: Source, options: RunOptions) -> _Run:
    directory = open_run_directory(job, source, retry_refused=options.retry_refused)
    with saving(directory.path):
        (directory.path / "_SUCCESS").unlink(missing_ok=True)
    return _Run(job, options, source, directory)


class _Run:
    """One run of one directory."""

    def __init__(self, job: Job, options: RunOptions, source: Source, directory: RunDirectory) -> None:
        self.store = directory.store
        self._job = job
        self._options = options
        self._source = source
        self._directory = directory
        self._scores = directory.scores
        self._scoring = Scoring(source, directory.scores, options.limit, self._load_scorer)
        self._asked = {side: asked_of(job, side) for side in SIDES}
        self._progress = Progress(
            scored=partial(getattr, self._scoring, "rows"),
            done_before=self.store.tally.done,
            simulated=any(job_endpoint(job, side).simulate for side in SIDES),
        )
        self._threshold: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._lanes: dict[Side, Lane[Request]] = {}
        self._stopped: list[str] = []
        self._budget = self._open_budget()
        self._signal: int | None = None

    async def go(self) -> RunEnd:
        """Scores, asks and keeps, all at once, until nothing is left or something stops it."""
        complete = self._is_complete()
        with self._signals():
            if not complete:
                await asyncio.to_thread(self._options.begin)
                await self._ask()
            return await asyncio.to_thread(self._conclude, asked=not complete)

    async def _ask(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            session = await stack.enter_async_context(open_session())
            for side in SIDES:
                address = await open_address(self._job, side, self._options.environ, stack)
                scrub = scrubber_for(self._job, self._options.environ)
                endpoint = Endpoint(address, session, scrub, keep_bodies=self._directory.raw)
                self._lanes[side] = self._lane(side, endpoint)
            await self._work()

    def _conclude(self, *, asked: bool) -> RunEnd:
        self.store.finish()
        if self._budget is not None:
            self._budget.close()
        end = self._end(asked=asked)
        self._options.conclude(end)
        return end

    def _open_budget(self) -> Budget | None:
        limit, path = self._job.limits.max_cost_usd, self.store.path / "ledger.json"
        if limit is None:
            return None

        def save(ledger: Ledger) -> None:
            with saving(path):
                write_ledger(path, ledger)

        return Budget(limit, self.store.spent_usd, read_ledger(path), save)

    def _is_complete(self) -> bool:
        rows = self._scoring.wanted_rows
        return rows is not None and self.store.tally.done >= rows and not self.store.unsettled

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(work) for work in (self.store.keep_synced(), self.store.keep_sealed())]
            beside += [group.create_task(work) for work in (self._watch(), self._stop_in_time())]
            scoring = group.create_task(self._score())
            async with asyncio.TaskGroup() as lanes:
                for side in SIDES:
                    lanes.create_task(self._run_lane(side))
            self._scoring.stop()
            await scoring
            await self.store.sealed()
            for task in beside:
                task.cancel()

    async def _score(self) -> None:
        """Scores the input, then settles the threshold where it depends on all scores."""
        routing, resolved = self._job.routing, self._directory.identity.threshold
        if routing.threshold is not None:
            self._threshold.set_result(routing.threshold)
        elif resolved is not None and self._scoring.complete:
            self._threshold.set_result(resolved)
        elif resolved is not None and any(self.store.tally.ok.values()):
            raise RunFault(
                "more rows than the threshold was resolved for: put --limit back, or set routing.threshold"
            )
        await self._scoring.run()
        if not self._scoring.complete:
            return
        self._progress.rows = self._scoring.wanted_rows
        if not self._threshold.done():
            self._threshold.set_result(await asyncio.to_thread(self._threshold_of_scores))
        self._directory.identify(threshold=self._threshold.result(), rows=self._scores.rows)

    def _threshold_of_scores(self) -> float:
        routing = self._job.routing
        if routing.budget_usd is not None:
            return budget_threshold(self._job, self._source, self._scores.parts, routing.budget_usd)
        return share_threshold(self._scores, routing.strong_fraction or 0.0)

    def _load_scorer(self) -> Scorer:
        scorer = load_scorer(self._job.router)
        self._directory.hold_to(scorer.identity)
        return scorer

    async def _run_lane(self, side: Side) -> None:
        lane = self._lanes[side]
        await lane.run(self._requests(side))
        if lane.stopped:
            self._stopped.append(lane.stopped)

    async def _requests(self, side: Side) -> AsyncIterator[Request]:
        """The rows this lane is to ask; those refused before asking are recorded on the way."""
        threshold = await asyncio.shield(self._threshold)
        pricing = self._asked[side].pricing if self._budget else None
        limit = self._options.limit
        feed = Feed(side, self._source, self._job.endpoints, self.store, pricing=pricing, limit=limit)
        number = 0
        while part := await self._scores.part(number):
            chunks = feed.requests(part, threshold)
            while (requests := await asyncio.to_thread(next, chunks, None)) is not None:
                for request in requests:
                    if request.prompt.refusal is None:
                        yield request
                    else:
                        self._keep(side, never_sent(request, self._asked[side], _now_us()))
            number += 1

    def _lane(self, side: Side, endpoint: Endpoint) -> Lane[Request]:
        asked, unsettled = self._asked[side], self.store.unsettled

        def settle(request: Request, outcome: Outcome) -> None:
            earlier = unsettled.get((request.prompt.file, request.prompt.row))
            self._keep(side, settled(request, outcome, asked, earlier, _now_us(), raw=self._directory.raw))

        def leave(row: OpenRow[Request]) -> None:
            if row.attempts > row.request.attempts:
                earlier = unsettled.get((row.request.prompt.file, row.request.prompt.row))
                self._keep(side, left_open(row, asked, earlier, _now_us()))

        def stopped(reason: str) -> None:
            self._options.say(f"the {side} lane stopped: {reason}")

        def send(request: Request) -> Awaitable[Answer]:
            return endpoint.send(request.body)

        return Lane(send, lane_limits(self._job, side), settle, leave, stopped, self._purse(side))

    def _purse(self, side: Side) -> Purse | None:
        pricing = self._asked[side].pricing
        return Purse(self._budget, pricing.cost) if self._budget and pricing else None

    def _keep(self, side: Side, result: Result) -> None:
        self.store.record(result)
        self._progress.add(side, result)

    async def _watch(self) -> None:
        for side, lane in self._lanes.items():
            self._progress.lanes[side].in_flight = partial(getattr, lane, "in_flight")
        if self._options.watch is not None:
            await self._options.watch(self._progress)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """A first signal drains, a second one lets go of what is in flight."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        for number in numbers:
            loop.add_signal_handler(number, self._interrupt, number)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _interrupt(self, number: int) -> None:
        if self._signal is not None:
            for lane in self._lanes.values():
                lane.abandon()
            return
        self._signal = number
        waiting = sum(lane.in_flight for lane in self._lanes.values())
        self._options.say(
            f"stopping: waiting up to {self._job.limits.drain_s:g} s for {waiting} answers in flight; "
            "run the same command again to go on"
        )
        self._drain()

    def _drain(self) -> None:
        self._scoring.stop()
        for lane in self._lanes.values():
            lane.stop()
            asyncio.get_running_loop().call_later(self._job.limits.drain_s, lane.abandon)

    async def _stop_in_time(self) -> None:
        """Drains at limits.stop_at or after limits.max_wall_s, whichever comes first."""
        limits = self._job.limits
        waits = [] if limits.max_wall_s is None else [(limits.max_wall_s, "limits.max_wall_s")]
        if limits.stop_at is not None:
            waits.append((seconds_until(limits.stop_at, datetime.now().astimezone()), "limits.stop_at"))
        if not waits:
            return
        wait_s, key = min(waits)
        await asyncio.sleep(wait_s)
        self._stopped.append(f"{key} is reached; run again to go on")
        self._options.say(self._stopped[-1])
        self._drain()

    def _end(self, *, asked: bool) -> RunEnd:
        tally = self.store.tally
        return RunEnd(
            rows=self._scoring.wanted_rows,
            ok=sum(tally.ok.values()),
            refused=tally.refused,
            failed=len(self.store.failed),
            wall_s=self._progress.elapsed_s,
            asked=asked,
            unconfirmed_usd=float(self._budget.unconfirmed) if self._budget else None,
            stopped=tuple(self._stopped),
            signal=self._signal,
        )


async def open_address(
    job: Job, side: Side, environ: Mapping[str, str], stack: contextlib.AsyncExitStack
) -> Address:
    """Where a side's lane sends; one that is simulated gets its provider here, on loopback, until `stack` ends."""
    spec = job_endpoint(job, side)
    base_url = spec.base_url
    if spec.simulate is not None:
        behaviour = Behaviour(**spec.simulate.model_dump())
        base_url = (await stack.enter_async_context(await start_simulator(behaviour))).url
    url = api_url(base_url or "", "chat/completions")
    secrets = endpoint_secrets(spec, environ)
    return Address(
        url=url,
        headers=request_headers(secrets, spec.api_key_header, spec.headers),
        timeout_s=spec.timeout_s,
        max_response_bytes=int(job.limits.max_response_mb * (1 << 20)),
        proxy=None if spec.simulate else proxy_for(url),
    )


def scrubber_for(job: Job, environ: Mapping[str, str]) -> Scrubber:
    """Knows the keys of both sides: a provider may be told of one by the other."""
    return Scrubber(
        secret.reveal()
        for side in SIDES
        for secrets in [endpoint_secrets(job_endpoint(job, side), environ)]
        for secret in (secrets.api_key, *secrets.headers.values())
        if secret is not None
    )


def lane_limits(job: Job, side: Side) -> LaneLimits:
    """What a side's lane may do."""
    spec, limits = job_endpoint(job, side), job.limits
    return LaneLimits(
        max_concurrency=spec.max_concurrency,
        max_attempts=spec.max_attempts,
        outage_s=limits.outage_s,
        requests_per_minute=spec.requests_per_minute,
        tokens_per_minute=spec.tokens_per_minute,
        stop_after_same_refusal=limits.stop_after_same_refusal,
    )


def seconds_until(clock: str, now: datetime) -> float:
    """From `now` to the next time the clock shows HH:MM."""
    hour, minute = map(int, clock.split(":"))
    then = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if then <= now:
        then += timedelta(days=1)
    return (then - now).total_seconds()


def _now_us() -> int:
    return time.time_ns() // 1000
