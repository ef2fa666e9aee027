"""A job from source to store: the only place where the parts are put together.

    source -> scoring -> scores/ -> a feed per lane -> lane -> journal -> results/

Scoring and the two lanes run side by side and meet only on disk. Decides nothing about scores, speed or answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from batchroute.errors import RunFault, Stopped, cause_of
from batchroute.input.open import open_source
from batchroute.job.prices import open_targets
from batchroute.route.downgrade import open_downgrade
from batchroute.route.forecast.estimator import make_estimator
from batchroute.route.next import Done, Policy, RowState, Stop, next_step
from batchroute.route.threshold import threshold_for_share
from batchroute.run.feed import Feed, rows_to_ask
from batchroute.run.process import raise_file_limit, run_loop
from batchroute.run.progress import Progress
from batchroute.run.scoring import Scoring
from batchroute.run.settle import billed_usd, left_open, never_sent, settled, taken_over
from batchroute.score.api.paid import read_bill
from batchroute.score.api.rate import EmbedContext, rater_opener
from batchroute.send.allowance import OwnLimits, Spending
from batchroute.send.budget import open_budget
from batchroute.send.endpoint import Endpoint
from batchroute.send.http import Transport
from batchroute.send.lane import Lane
from batchroute.send.open import (
    connections,
    endpoint_limits,
    job_secrets,
    most_open,
    open_address,
    refuse_unpriced,
    retry_policy,
    scrubber_for,
)
from batchroute.send.request import Spent
from batchroute.send.reuse import Reuse, answered_parts
from batchroute.store.columns import reserved_names
from batchroute.store.directory import open_run_directory
from batchroute.store.files import saving
from batchroute.store.identity import format_of
from batchroute.store.layout import RunLayout, locked
from batchroute.types import SIDES, Side

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from batchroute.input.open import Source
    from batchroute.job.prices import Target
    from batchroute.job.spec import InputSpec, Job, RouterSpec
    from batchroute.route.downgrade import Downgrade
    from batchroute.score.rater import Rater
    from batchroute.score.router import Scorer
    from batchroute.send.budget import Budget
    from batchroute.send.classify import Answer
    from batchroute.send.request import Outcome, Request
    from batchroute.send.reuse import AnsweredParts
    from batchroute.store.directory import RunDirectory
    from batchroute.store.done import DoneRows
    from batchroute.types import Result


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
    is False for a job that was complete before. `router_cost_usd` is what all embeddings cost, over all runs.
    """

    rows: int | None
    ok: int
    refused: int
    failed: int
    wall_s: float
    asked: bool
    unconfirmed_usd: float | None = None
    router_cost_usd: float | None = 0.0
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


def open_input(spec: InputSpec, router: RouterSpec, output: Path | None, *, raw: bool = False) -> Source:
    """A job's input, looked at but not read; `output` is the run's directory where there is to be one.

    `raw`: whole answers are kept, so that a row may ask for several choices.
    """
    embedder = router.embedder
    return open_source(
        spec,
        score_text=router.text,
        vector_column=embedder.column if embedder.use == "column" else None,
        reserved=reserved_names() if output is None else reserved_names(format_of(RunLayout(output))),
        output=output,
        raw=raw,
    )


def run_job(job: Job, options: RunOptions) -> RunEnd:
    """Runs a job to its end, or as far as the world lets it; blocks.

    Raises UsageFault before anything is sent, Stopped where a run cannot begin or can no longer save.
    """
    return run_loop(arun_job(job, options))


async def arun_job(job: Job, options: RunOptions) -> RunEnd:
    """As `run_job`, inside a running event loop whose signals it handles meanwhile."""
    targets = open_targets(job.endpoints)
    refuse_unpriced(job, targets)
    path = Path(job.output.path)
    source = open_input(job.input, job.router, path, raw=job.output.raw)
    raise_file_limit(connections(job))
    with locked(path, int(job.output.mode, 8)):
        run = _open_run(job, source, targets, options)
        try:
            return await run.go()
        except BaseExceptionGroup as group:
            raise cause_of(group) from group
        finally:
            run.store.close()


def _open_run(job: Job, source: Source, targets: Mapping[str, Target], options: RunOptions) -> _Run:
    directory = open_run_directory(job, source, retry_refused=options.retry_refused)
    with saving(directory.layout.path):
        directory.layout.success.unlink(missing_ok=True)
    return _Run(job, options, source, targets, directory)


class _Run:
    """One run of one directory."""

    def __init__(
        self,
        job: Job,
        options: RunOptions,
        source: Source,
        targets: Mapping[str, Target],
        directory: RunDirectory,
    ) -> None:
        self.store = directory.store
        self._job = job
        self._options = options
        self._source = source
        self._directory = directory
        self._scores = directory.scores
        self._scoring = Scoring(source, directory.scores, options.limit, self._load_scorer, self._open_rater)
        self._targets = targets
        self._progress = Progress(
            scored=partial(getattr, self._scoring, "rows"),
            done_before=self.store.tally.done,
            simulated=any(job.endpoints[side].simulate for side in SIDES),
        )
        self._threshold: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._downgrade: Downgrade | None = None
        self._policy = Policy(downgrade_to="weak" if self._job.limits.on_budget == "downgrade" else None)
        self._is_fed = {side: asyncio.Event() for side in SIDES}  # with the rows that its scores send there
        self._has_ended = {side: asyncio.Event() for side in SIDES}
        self._lanes: dict[Side, Lane[Request]] = {}
        self._stopped: list[str] = []
        self._answered: AnsweredParts | None = None
        self._budget = self._open_budget()
        self._draining = False
        self._signal: int | None = None

    async def go(self) -> RunEnd:
        """Scores, asks and keeps, all at once, until nothing is left or something stops it."""
        complete = self._is_complete()
        with self._signals():
            if not complete:
                self._answered = await asyncio.to_thread(answered_parts, self._job, raw=self._directory.raw)
                await asyncio.to_thread(self._options.begin)
                await self._ask()
            return await asyncio.to_thread(self._conclude, asked=not complete)

    async def _ask(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for side in SIDES:
                address = await open_address(self._job, side, self._options.environ, stack)
                transport = await stack.enter_async_context(Transport(address))
                scrub = scrubber_for(self._job, self._options.environ)
                had_success = self.store.tally.ok[side] > 0
                endpoint = Endpoint(transport, scrub, keep_bodies=self._directory.raw, had_success=had_success)
                self._lanes[side] = self._lane(side, endpoint)
            if self._signal is not None:  # it came before there were lanes to stop
                self._drain()
            await self._work()

    def _conclude(self, *, asked: bool) -> RunEnd:
        self.store.finish()
        if self._budget is not None:
            self._budget.close()
        end = self._end(asked=asked)
        self._options.conclude(end)
        return end

    def _open_budget(self) -> Budget | None:
        run = self.store.layout
        return open_budget(
            run.ledger, self._job.limits.max_cost_usd, self.store.spent_usd + read_bill(run.path).usd
        )

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
            asyncio.get_running_loop().call_later(self._job.limits.drain_s, self._scoring.abandon)
            await scoring
            await self.store.sealed()
            for task in beside:
                task.cancel()

    async def _score(self) -> None:
        """Scores the input, then settles the threshold where something depends on the whole input."""
        known, begun_with = self._known_threshold(), self.store.done.copy()
        if known is not None and not self._job.input.reuse and not self._downgrades:
            self._threshold.set_result(known)
        await self._scoring.run()
        if self._scoring.stopped is not None:
            self._stopped.append(f"the embedder stopped: {self._scoring.stopped}")
        if not self._scoring.complete:
            self._leave_unrouted()
            return
        self._progress.rows = self._scoring.wanted_rows
        threshold = await asyncio.to_thread(self._threshold_of_scores) if known is None else known
        self._directory.identify(threshold=threshold, rows=self._scores.rows)
        if not self._threshold.done():
            await self._take_over(threshold)
            begun_with = self.store.done
        for side, rows in (await asyncio.to_thread(self._rows_to_ask, threshold, begun_with)).items():
            self._progress.lanes[side].rows = rows
        if self._budget is not None and self._downgrades:
            self._downgrade = await asyncio.to_thread(self._open_downgrade, self._budget, threshold)
        if not self._threshold.done():
            self._threshold.set_result(threshold)

    @property
    def _downgrades(self) -> bool:
        return self._budget is not None and self._job.limits.on_budget == "downgrade"

    def _open_downgrade(self, budget: Budget, threshold: float) -> Downgrade:
        assumed = make_estimator(self._job, self._targets, self._source, self._scores.parts).assumed
        parts, limit = self._scores.parts, self._options.limit
        return open_downgrade(
            self._job.endpoints, assumed, parts, self.store, budget, threshold=threshold, limit=limit
        )

    def _rows_to_ask(self, threshold: float, done: DoneRows) -> dict[Side, int]:
        limit = self._options.limit
        return rows_to_ask(self._scores.parts, threshold, self._job.endpoints, done, limit)

    def _leave_unrouted(self) -> None:
        """Without a threshold no row has a side, and the lanes would wait for one."""
        if not self._threshold.done():
            for lane in self._lanes.values():
                lane.stop()

    def _known_threshold(self) -> float | None:
        """The one that the job names, or that an earlier run in this directory settled on."""
        routing, resolved = self._job.routing, self._directory.identity.threshold
        if routing.threshold is not None or resolved is None or self._scoring.complete:
            return resolved if routing.threshold is None else routing.threshold
        if any(self.store.tally.ok.values()):
            raise RunFault(
                "more rows than the threshold was resolved for: put --limit back, or set routing.threshold"
            )
        return None

    async def _take_over(self, threshold: float) -> None:
        """Records the rows that the runs of input.reuse have answered, before anything is asked."""
        if self._answered is None or not self._answered.parts:
            return
        with contextlib.closing(await asyncio.to_thread(Reuse, self._answered, self.store.layout.path)) as reuse:
            for side in SIDES:
                feed = Feed(side, self._source, self._job.endpoints, self.store, limit=self._options.limit)
                for part in self._scores.parts:
                    chunks = reuse.matches(feed.requests(part, threshold))
                    while (matches := await asyncio.to_thread(next, chunks, None)) is not None:
                        if self._draining:
                            return
                        self._keep_taken(side, matches)

    def _keep_taken(self, side: Side, matches: Sequence[tuple[Request, Answer]]) -> None:
        """Records rows of one file as answered and done."""
        for request, answer in matches:
            earlier = self.store.unsettled.get((request.prompt.file, request.prompt.row))
            asked, raw = self._targets[side], self._directory.raw
            self.store.record(taken_over(request, answer, asked, earlier, _now_us(), raw=raw))
            self._progress.done_before += 1

    def _threshold_of_scores(self) -> float:
        routing = self._job.routing
        if routing.budget_usd is not None:
            estimator = make_estimator(self._job, self._targets, self._source, self._scores.parts)
            return estimator.budget_threshold(routing.budget_usd)
        return threshold_for_share(self._scores.free(), routing.strong_fraction or 0.0)[0]

    def _load_scorer(self) -> Scorer:
        from batchroute.score.router import load_scorer  # noqa: PLC0415 - imports torch

        scorer = load_scorer(self._job.router)
        self._directory.hold_to(scorer.identity)
        return scorer

    def _open_rater(self, scorer: Scorer) -> AbstractAsyncContextManager[Rater]:
        options, limits = self._options, self._job.limits
        secrets = tuple(job_secrets(self._job, self._options.environ))

        def stopped(reason: str) -> None:
            options.say(f"the embedder stopped: {reason}")

        context = EmbedContext(
            options.environ, limits, options.say, self._budget, self.store.layout.path, secrets, stopped
        )
        return rater_opener(self._job.router, context)(scorer)

    async def _run_lane(self, side: Side) -> None:
        lane = self._lanes[side]
        await lane.deliver(self._requests(side), _LaneSink(self, side))
        if lane.stopped:
            self._stopped.append(lane.stopped)
        self._is_fed[side].set()
        self._has_ended[side].set()
        if self._downgrade is not None:
            self._downgrade.ended(side)

    async def _requests(self, side: Side) -> AsyncGenerator[Request, None]:
        """The rows this lane is to ask; those the strong lane gives up come last on the weak one."""
        threshold = await asyncio.shield(self._threshold)
        async for request in self._fed(side, threshold):
            yield request
        self._is_fed[side].set()
        if self._downgrade is not None:
            self._downgrade.fed(side)
        if side == "strong" or self._downgrade is None:
            return
        for no_more in (self._is_fed["strong"], self._has_ended["strong"]):
            await no_more.wait()
            if (moved := self._downgrade.take_moved()) is not None:
                async for request in self._fed(side, threshold, moved):
                    yield request

    async def _goes_there(self, side: Side, request: Request) -> bool:
        """Whether a row goes to its side; where money is short, that waits for what is under way."""
        if self._downgrade is None:
            return True
        while not self._downgrade.admits(side, request):
            if self._downgrade.is_final:
                self._downgrade.move(request)
                self._count_moved()
                return False
            await self._downgrade.changed()
        return True

    def _count_moved(self) -> None:
        strong, weak = (self._progress.lanes[side] for side in SIDES)
        strong.rows, weak.rows = (strong.rows or 0) - 1, (weak.rows or 0) + 1

    async def _fed(self, side: Side, threshold: float, moved: DoneRows | None = None) -> AsyncIterator[Request]:
        """A way through the input; rows refused before asking are recorded on it."""
        pricing = self._targets[side].pricing if self._budget else None
        limit = self._options.limit
        feed = Feed(side, self._source, self._job.endpoints, self.store, pricing=pricing, moved=moved, limit=limit)
        number = 0
        while part := await self._scores.part(number):
            chunks = feed.requests(part, threshold)
            while (requests := await asyncio.to_thread(next, chunks, None)) is not None:
                for request in requests:
                    if request.prompt.refusal is not None:
                        self._keep(side, never_sent(request, self._targets[side], _now_us()))
                    elif await self._goes_there(side, request):
                        yield request
            number += 1

    def _lane(self, side: Side, endpoint: Endpoint) -> Lane[Request]:
        spec, pricing = self._job.endpoints[side], self._targets[side].pricing

        def stopped(reason: str) -> None:
            self._options.say(f"the {side} lane stopped: {reason}")

        def send(request: Request) -> Awaitable[Answer]:
            return endpoint.send(request.body)

        spending = Spending(self._budget, pricing.cost) if self._budget and pricing else None
        return Lane(
            send,
            retry_policy(spec, self._job.limits),
            OwnLimits(endpoint_limits(spec), spending),
            stopped,
            most_open=most_open(spec),
        )

    def settle(self, side: Side, request: Request, outcome: Outcome) -> None:
        may_move = self._downgrade is not None and self._downgrade.may_move(request)
        step = next_step(RowState(side, may_move), outcome, self._policy)
        if isinstance(step, Done):
            earlier = self.store.unsettled.get((request.prompt.file, request.prompt.row))
            asked, raw = self._targets[side], self._directory.raw
            self._keep(side, settled(request, outcome, asked, earlier, _now_us(), raw=raw))
            if self._downgrade is not None:
                self._downgrade.settled(side, request, billed_usd(outcome.usages, asked.pricing))
            return
        self.leave(side, request, Spent(outcome.attempts, outcome.usages))
        if isinstance(step, Stop):
            self._lanes[side].stop(step.reason)
        elif self._downgrade is not None:
            self._downgrade.move_admitted(request)
            self._count_moved()

    def leave(self, side: Side, request: Request, spent: Spent) -> None:
        if self._downgrade is not None:
            self._downgrade.left(side, request)
        if spent.attempts > request.attempts:
            earlier = self.store.unsettled.get((request.prompt.file, request.prompt.row))
            self._keep(side, left_open(request, spent, self._targets[side], earlier, _now_us()))

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
            self._scoring.abandon()
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
        self._draining = True
        self._scoring.stop()
        asyncio.get_running_loop().call_later(self._job.limits.drain_s, self._scoring.abandon)
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
        embeddings = read_bill(self.store.layout.path)
        return RunEnd(
            rows=self._scoring.wanted_rows,
            ok=sum(tally.ok.values()),
            refused=tally.refused,
            failed=len(self.store.failed()),
            wall_s=self._progress.elapsed_s,
            asked=asked,
            unconfirmed_usd=float(self._budget.unconfirmed) if self._budget else None,
            router_cost_usd=float(embeddings.usd) if embeddings.complete else None,
            stopped=tuple(self._stopped),
            signal=self._signal,
        )


@dataclass(frozen=True, slots=True)
class _LaneSink:
    """See `Sink`: one lane's."""

    run: _Run
    side: Side

    def settle(self, request: Request, outcome: Outcome) -> None:
        self.run.settle(self.side, request, outcome)

    def leave(self, request: Request, spent: Spent) -> None:
        self.run.leave(self.side, request, spent)


def seconds_until(clock: str, now: datetime) -> float:
    """From `now` to the next time the clock shows HH:MM."""
    hour, minute = map(int, clock.split(":"))
    then = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if then <= now:
        then += timedelta(days=1)
    return (then - now).total_seconds()


def _now_us() -> int:
    return time.time_ns() // 1000
