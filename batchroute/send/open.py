"""An endpoint's settings -> what a lane needs of it: address, keys, limits, patience.

Takes one endpoint at a time, or the embedder, which is asked alike. Reads the environment it is given; sends
nothing.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from batchroute.job.endpoint import EndpointSpec
from batchroute.job.prices import attempt_usd
from batchroute.job.secrets import Scrubber, endpoint_secrets
from batchroute.send.allowance import EndpointLimits, OwnLimits, Spending
from batchroute.send.body import dialect_of
from batchroute.send.endpoint import Endpoint
from batchroute.send.http import Address, Transport, api_url, proxy_for, request_headers
from batchroute.send.renewal import KeyRenewal, RenewedKey
from batchroute.send.retry import RetryPolicy
from batchroute.simulate.behaviour import Behaviour
from batchroute.simulate.server import start as start_simulator

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from yarl import URL

    from batchroute.job.endpoint import EnvRef
    from batchroute.job.prices import Target
    from batchroute.job.secrets import Secret
    from batchroute.job.spec import EmbedderSpec, Job, Limits, RouterSpec
    from batchroute.send.budget import Budget

    Asked: TypeAlias = EndpointSpec | EmbedderSpec


def asks_for_vectors(router: RouterSpec) -> bool:
    """Whether the router's scores need an embeddings API."""
    return router.embedder.use == "openai" and router.use not in {"random", "length"} and ":" not in router.use


def asked_by(job: Job) -> list[Asked]:
    """All that a job sends requests to: its endpoints, the pilot's judge, and the router's embedder."""
    specs: list[Asked] = list(job.asked.values())
    return [*specs, job.router.embedder] if asks_for_vectors(job.router) else specs


def connections(specs: Iterable[Asked]) -> int:
    """How many may be open at a time."""
    return sum(endpoint_limits(spec).max_concurrency for spec in specs)


def secrets_of(specs: Iterable[Asked], environ: Mapping[str, str]) -> list[Secret]:
    """The keys that are not to be written anywhere; JobFault where a variable is unset."""
    return [secret for spec in specs for secret in endpoint_secrets(spec, environ).every]


def scrubber_for(specs: Iterable[Asked], environ: Mapping[str, str]) -> Scrubber:
    """Knows the keys of all of them: a provider may be told of one by another."""
    return Scrubber(secret.reveal() for secret in secrets_of(specs, environ))


async def open_addresses(
    spec: EndpointSpec, limits: Limits, environ: Mapping[str, str], stack: contextlib.AsyncExitStack
) -> dict[str, Address]:
    """Where a lane sends, by name; a simulated one gets its provider here, on loopback, until `stack` ends."""
    base_urls = spec.addresses
    if spec.simulate is not None:
        behaviour = Behaviour(**spec.simulate.model_dump())
        base_urls = ((await stack.enter_async_context(start_simulator(behaviour))).url,)
    dialect, headers = dialect_of(spec), {**dialect_of(spec).headers, **spec.headers}
    urls = [api_url(base_url, dialect.path) for base_url in base_urls]
    opened = {}
    for name, url in zip(_names(urls, dialect.path), urls, strict=True):
        proxy = None if spec.simulate is not None else proxy_for(url)
        opened[name] = _address(spec, url, proxy, dialect.key_header, headers, limits, environ)
    return opened


def _names(urls: Sequence[URL], path: str) -> list[str]:
    """By which people tell them apart: with their path where host:port is the same, else with a number, too."""
    hosts = [f"{url.host}:{url.port}" for url in urls]
    if len(set(hosts)) == len(urls):
        return hosts
    paths = [f"{url.host}:{url.port}{url.path.removesuffix(path).rstrip('/')}" for url in urls]
    if len(set(paths)) == len(urls):
        return paths
    return [f"{name} ({number})" for number, name in enumerate(paths, 1)]


async def open_endpoints(
    spec: EndpointSpec,
    limits: Limits,
    environ: Mapping[str, str],
    stack: contextlib.AsyncExitStack,
    scrub: Scrubber,
    *,
    keep_bodies: bool = False,
    had_success: Callable[[], bool] = lambda: False,
) -> dict[str, Endpoint]:
    """One for each address, with connections until `stack` ends; they have their key in common.

    `had_success`: an earlier run, or another process, had an answer. Of several addresses nobody knows which one
    gave it, or whether it is still among them: a first 404 is then about the address, and not about the row.
    """
    addresses = await open_addresses(spec, limits, environ, stack)
    transports = [await stack.enter_async_context(Transport(address)) for address in addresses.values()]
    key, read = KeyRenewal(transports, scrub), dialect_of(spec).read
    known = had_success if len(transports) == 1 else lambda: False
    return {
        where: Endpoint(transport, scrub, keep_bodies=keep_bodies, had_success=known, read=read, key=key)
        for where, transport in zip(addresses, transports, strict=True)
    }


def embedder_address(spec: EmbedderSpec, limits: Limits, environ: Mapping[str, str]) -> Address:
    """Where texts are sent for their vectors."""
    url = api_url(spec.base_url or "", "embeddings")
    return _address(spec, url, proxy_for(url), None, {}, limits, environ)


def _address(
    spec: Asked,
    url: URL,
    proxy: str | None,
    key_header: str | None,
    plain: Mapping[str, str | EnvRef],
    limits: Limits,
    environ: Mapping[str, str],
) -> Address:
    def keyed(*, again: bool) -> RenewedKey:
        secrets = endpoint_secrets(spec, environ, again=again)
        headers = request_headers(secrets, spec.api_key_header or key_header, plain)
        return RenewedKey(headers, secrets.every)

    return Address(
        url,
        keyed(again=False).headers,
        spec.timeout_s,
        max_response_bytes(limits),
        proxy,
        partial(keyed, again=True),
    )


def max_response_bytes(limits: Limits) -> int:
    return int(limits.max_response_mb * (1 << 20))


def refuse_bad_proxy(spec: EndpointSpec) -> None:
    """UsageFault where the environment names a proxy for its requests that cannot be used."""
    for base_url in spec.addresses:
        proxy_for(api_url(base_url, dialect_of(spec).path))


def endpoint_limits(spec: Asked) -> EndpointLimits:
    """How much of it a lane may use, at all its addresses together."""
    times = spec.times_limited if isinstance(spec, EndpointSpec) else 1
    requests, tokens = spec.requests_per_minute, spec.tokens_per_minute
    return EndpointLimits(
        times * spec.max_concurrency,
        None if requests is None else times * requests,
        None if tokens is None else times * tokens,
    )


def own_limits(limits: EndpointLimits, budget: Budget | None, target: Target) -> OwnLimits:
    """What a lane may use, of its endpoint and of the budget, where there is one."""
    pricing = target.pricing
    spending = Spending(budget, target.name, partial(attempt_usd, pricing=pricing)) if budget and pricing else None
    return OwnLimits(limits, spending)


def retry_policy(spec: Asked, limits: Limits) -> RetryPolicy:
    """How often a lane tries, and how long it waits."""
    return RetryPolicy(spec.max_attempts, limits.outage_s, limits.stop_after_same_refusal)


def most_open(spec: Asked) -> int:
    """How many requests a lane takes in at a time: as many again as it has slots may wait for another attempt."""
    return 2 * endpoint_limits(spec).max_concurrency + 64
