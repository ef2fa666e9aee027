"""The lanes of a job, its two sides' and its embedder's: whom each asks, where, as whom, how fast, at what price.

Knows the job and the environment; sends nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchroute.errors import UsageFault
from batchroute.job.prices import open_embedder_target
from batchroute.job.secrets import Scrubber, endpoint_secrets
from batchroute.send.allowance import EndpointLimits
from batchroute.send.http import Address, api_url, proxy_for, request_headers
from batchroute.send.retry import RetryPolicy
from batchroute.simulate.behaviour import Behaviour
from batchroute.simulate.server import start as start_simulator
from batchroute.types import SIDES, Side

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Iterator, Mapping

    from batchroute.job.prices import Target
    from batchroute.job.secrets import Secret
    from batchroute.job.spec import EmbedderSpec, EndpointSpec, Job, Limits, RouterSpec


def asks_for_vectors(router: RouterSpec) -> bool:
    """Whether the router's scores need an embeddings API."""
    return router.embedder.use == "openai" and router.use not in {"random", "length"} and ":" not in router.use


def refuse_unpriced(job: Job, targets: Mapping[str, Target]) -> None:
    """UsageFault where a budget is to hold for a model whose price is unknown."""
    caps_run, routes_by_cost = job.limits.max_cost_usd is not None, job.routing.budget_usd is not None
    if not (caps_run or routes_by_cost):
        return
    unknown = [f"endpoints.{name}.price" for name, target in targets.items() if target.pricing is None]
    if caps_run and asks_for_vectors(job.router) and open_embedder_target(job.router.embedder).pricing is None:
        unknown.append("router.embedder.price")
    if unknown:
        budget = "limits.max_cost_usd" if caps_run else "routing.budget_usd"
        raise UsageFault(f"{budget} needs prices: set {', '.join(unknown)}, in USD per million tokens")


def connections(job: Job) -> int:
    """How many may be open at a time."""
    lanes = sum(job.endpoints[side].max_concurrency for side in SIDES)
    return lanes + (job.router.embedder.max_concurrency if asks_for_vectors(job.router) else 0)


async def open_address(
    job: Job, side: Side, environ: Mapping[str, str], stack: contextlib.AsyncExitStack
) -> Address:
    """Where a side's lane sends; one that is simulated gets its provider here, on loopback, until `stack` ends."""
    spec = job.endpoints[side]
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
        proxy=lane_proxy(job, side),
    )


def lane_proxy(job: Job, side: Side) -> str | None:
    """The proxy of a side's requests; UsageFault where the environment names one that cannot be used."""
    base_url = job.endpoints[side].base_url
    return None if base_url is None else proxy_for(api_url(base_url, "chat/completions"))


def scrubber_for(job: Job, environ: Mapping[str, str]) -> Scrubber:
    """Knows all keys of the job: a provider may be told of one by another."""
    return Scrubber(secret.reveal() for secret in job_secrets(job, environ))


def job_secrets(job: Job, environ: Mapping[str, str]) -> Iterator[Secret]:
    for side in SIDES:
        yield from secrets_of(job.endpoints[side], environ)
    if asks_for_vectors(job.router):
        yield from secrets_of(job.router.embedder, environ)


def secrets_of(spec: EndpointSpec | EmbedderSpec, environ: Mapping[str, str]) -> Iterator[Secret]:
    """The keys that are not to be written anywhere."""
    secrets = endpoint_secrets(spec, environ)
    yield from (secret for secret in (secrets.api_key, *secrets.headers.values()) if secret is not None)


def endpoint_limits(spec: EndpointSpec | EmbedderSpec) -> EndpointLimits:
    """How much of it a lane may use."""
    return EndpointLimits(spec.max_concurrency, spec.requests_per_minute, spec.tokens_per_minute)


def retry_policy(spec: EndpointSpec | EmbedderSpec, limits: Limits) -> RetryPolicy:
    """How often a lane tries, and how long it waits."""
    return RetryPolicy(spec.max_attempts, limits.outage_s, limits.stop_after_same_refusal)


def most_open(spec: EndpointSpec | EmbedderSpec) -> int:
    """How many requests a lane takes in at a time: as many again as it has slots may wait for another attempt."""
    return 2 * spec.max_concurrency + 64
