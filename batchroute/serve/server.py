"""The server as a process: what it needs to start, where it listens, how it stops. Knows no requests."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from batchroute.errors import UsageFault
from batchroute.job.prices import open_targets
from batchroute.job.secrets import resolve_key
from batchroute.run.kept import kept_threshold, served_job
from batchroute.run.open import refuse_unpriced
from batchroute.run.process import on_signals, raise_file_limit, run_loop
from batchroute.score.api.rate import EmbedContext, rater_opener
from batchroute.score.rater import bare_questions
from batchroute.score.router import load_scorer
from batchroute.send.open import asked_by, connections, scrubber_for
from batchroute.serve.access import access_policy
from batchroute.serve.app import ChatApi, make_app
from batchroute.serve.batch.api import BatchApi
from batchroute.serve.batch.batches import BatchStore
from batchroute.serve.batch.files import FileStore
from batchroute.serve.batch.queue import BatchQueue
from batchroute.serve.batch.shares import Lease, batch_part, divide_endpoints, divide_router, open_live_budget
from batchroute.serve.chat import model_names
from batchroute.serve.forward import LIVE_OUTAGE_S, LiveEndpoints, open_live_endpoints
from batchroute.serve.metrics import Metrics
from batchroute.serve.scoring import JointScoring
from batchroute.store.lock import locked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from batchroute.job.secrets import Scrubber, Secret
    from batchroute.job.spec import Job
    from batchroute.score.router import Scorer
    from batchroute.send.budget import Budget
    from batchroute.serve.access import AccessPolicy

BACKLOG = 4096
MOST_CLIENTS = 4096  # connections that the file limit is raised for, beside those to the endpoints
KEEPALIVE_S = 75.0


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What a server needs beside the job: the environment with its keys, the flags, and two callbacks.

    `announce` gets host and port once requests are served, `notify` what the operator should know. `state` is the
    directory of files and batches, by default beside the job's output; `batch_share` of the endpoints' limits is
    for batches, 0 turns them off.
    """

    environ: Mapping[str, str]
    announce: Callable[[str, int], None]
    notify: Callable[[str], None]
    host: str = "127.0.0.1"
    port: int = 6060
    api_key_env: str | None = None
    allow_hosts: tuple[str, ...] = ()
    state: Path | None = None
    batch_share: float = 0.5
    most_disk_bytes: int = 10 << 30

    def has_batches(self, job: Job) -> bool:
        """A budget turns them off: two processes that count it could spend it twice."""
        return self.batch_share > 0 and job.limits.max_cost_usd is None


def serve(job: Job, options: ServeOptions) -> int:
    """Serves until a signal, then awaits what is under way up to limits.drain_s; returns the signal's number.

    UsageFault before anything is listened to where the job cannot be served, or not safely.
    """
    served = served_job(job)
    return run_loop(_serve(served, options, *prepare(served, options)))


def prepare(job: Job, options: ServeOptions) -> tuple[AccessPolicy, Scorer]:
    """What `open_server` needs of a `served_job`; UsageFault where it cannot be served, or not safely."""
    refuse_unservable(job)
    refuse_unpriced(job, open_targets(job.asked))
    access = access_policy(options.host, options.allow_hosts, _client_key(options))
    if options.has_batches(job):
        batch_part(job, options.batch_share)  # its faults belong before anything is begun
    elif options.batch_share:
        options.notify("limits.max_cost_usd is kept for live requests; batches are off")
    raise_file_limit(connections(asked_by(job)) + MOST_CLIENTS)
    return access, load_for_serving(job)


def refuse_unservable(job: Job) -> None:
    """UsageFault for a router that reads more than a request brings, and for what only a run can do."""
    if job.limits.max_cost_usd is not None and job.limits.on_budget != "stop":
        raise UsageFault('limits.on_budget: a server can only stop at its budget; set it to "stop"')
    if job.router.embedder.use == "column":
        raise UsageFault("router.embedder: a request brings no column of vectors; use another embedder to serve")


def _client_key(options: ServeOptions) -> Secret | None:
    if options.api_key_env is None:
        return None
    key = resolve_key(options.api_key_env, options.environ)
    if key is None:
        raise UsageFault("--api-key-env: that variable is not set; set it, or that name with _FILE to a path")
    return key


def load_for_serving(job: Job) -> Scorer:
    """The job's router, in one thread: for a few texts at a time, two would wait for each other more than work."""
    import torch  # noqa: PLC0415 - slow to import

    torch.set_num_threads(1)
    scorer = load_scorer(job.router)
    if job.router.use == "mf" and job.router.embedder.use == "builtin":
        scorer.score(bare_questions([""]))  # some libraries load on first use
    return scorer


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that serves requests, at `port`."""

    chat_api: ChatApi
    port: int
    runner: web.AppRunner
    working: list[asyncio.Task[None]]


@contextlib.asynccontextmanager
async def open_server(
    job: Job, options: ServeOptions, access: AccessPolicy, scorer: Scorer
) -> AsyncIterator[RunningServer]:
    """A server inside a running event loop; at the end it awaits requests under way, up to limits.drain_s."""
    async with contextlib.AsyncExitStack() as stack:
        state = options.state or Path(f"{job.output.path}.serve")
        stack.enter_context(locked(state, 0o700, "a server"))
        budget = None
        if job.limits.max_cost_usd is not None:
            budget = open_live_budget(job.limits.max_cost_usd, state)
            stack.callback(budget.close)
        router = job.router
        if options.has_batches(job):
            router, _ = divide_router(job.router, options.batch_share)
        scrub = scrubber_for(asked_by(job), options.environ)
        context = _embed_context(job, options, budget, scrub)
        scoring = JointScoring(scorer, rater_opener(router, context), options.notify)
        working = [asyncio.create_task(scoring.run(), name="scoring")]
        stack.push_async_callback(_cancel, working)
        live = await open_live_endpoints(
            job.endpoints, job.limits, options.environ, scrub, stack, options.notify, budget
        )
        batches = _open_batches(job, options, state, live) if options.has_batches(job) else None
        metrics = Metrics(job.endpoints.names)
        chat_api = ChatApi(
            model_names(job.router.use, _threshold(job, options), job.endpoints),
            job.endpoints,
            scoring,
            live,
            metrics,
        )
        runner = web.AppRunner(
            make_app(chat_api, access, [] if batches is None else batches.routes()),
            access_log=None,
            handler_cancellation=True,  # a request ends when its client hangs up
            keepalive_timeout=KEEPALIVE_S,
            shutdown_timeout=job.limits.drain_s,
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        port = await _listen(runner, options)
        working += [] if batches is None else [asyncio.create_task(batches.queue.run(), name="batches")]
        yield RunningServer(chat_api, port, runner, working)


def _threshold(job: Job, options: ServeOptions) -> float | None:
    """What `model = "router"` stands for; where it is not known yet the operator is told how it comes to be."""
    found = kept_threshold(job)
    if found is None:
        options.notify(
            f"the job's threshold is not known yet, so a client must name one, as router-{job.router.use}-0.5: "
            f"`batchroute plan` or `run` of this job finds it and keeps it in {job.output.path}; then start again"
        )
    return found


def _embed_context(job: Job, options: ServeOptions, budget: Budget | None, scrub: Scrubber) -> EmbedContext:
    """What an embeddings API needs; it is waited for no longer than an endpoint."""
    limits = job.limits.model_copy(update={"outage_s": min(job.limits.outage_s, LIVE_OUTAGE_S)})
    return EmbedContext(options.environ, limits, options.notify, budget, None, scrub, options.notify)


def _open_batches(job: Job, options: ServeOptions, state: Path, live: LiveEndpoints) -> BatchApi:
    files, batches = FileStore(state, options.most_disk_bytes), BatchStore(state)
    files.tidy()
    allowances = {name: lane.allowance for name, lane in live.lanes.items()}
    lease = Lease(allowances, divide_endpoints(job.endpoints, options.batch_share))
    batch_job = batch_part(job, options.batch_share)
    queue = BatchQueue(batch_job, batches, files, options.environ, lease, options.notify)
    return BatchApi(files, batches, queue)


async def _serve(job: Job, options: ServeOptions, access: AccessPolicy, scorer: Scorer) -> int:
    async with open_server(job, options, access, scorer) as server:
        stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def received(number: int) -> None:
            if stopped.done():
                server.chat_api.live.close()  # a second signal abandons requests under way
            else:
                stopped.set_result(number)

        with on_signals(received):
            options.announce(options.host, server.port)
            number = await _first_to_end(stopped, server.working)
            options.notify(f"stopping: waiting up to {job.limits.drain_s:g} s for requests under way")
            await server.runner.cleanup()  # a second signal still counts
    return number


async def _first_to_end(stopped: asyncio.Future[int], working: list[asyncio.Task[None]]) -> int:
    """The signal; raises what ended work beside the requests, which never ends otherwise."""
    watched: list[asyncio.Future[Any]] = [stopped, *working]
    done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
    for task in done - {stopped}:
        await task
    return await stopped


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _listen(runner: web.AppRunner, options: ServeOptions) -> int:
    try:
        await web.TCPSite(runner, options.host, options.port, backlog=BACKLOG).start()
    except OSError as fault:
        if fault.errno == errno.EADDRINUSE:
            what = f"port {options.port} on {options.host} is taken; choose another with --port, or 0"
        else:
            what = f"cannot listen on {options.host}: {fault.strerror or fault}"
        raise UsageFault(what) from fault
    port: int = runner.addresses[0][1]
    return port
