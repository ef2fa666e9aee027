"""What a job may say and hardly means: each finding is a line of words and keeps nothing from running.

Looks at the job and the price table alone; asks nobody and reads no input.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from batchroute.job.pilot import table_of
from batchroute.job.price_table import is_deprecated, near_models
from batchroute.job.providers import leaving, likely_address, refused_params, wants_key
from batchroute.send.open import asks_for_vectors
from batchroute.types import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchroute.job.endpoint import EndpointSpec
    from batchroute.job.prices import Target
    from batchroute.job.spec import Job

_TYPICAL = Usage(prompt_tokens=1000, completion_tokens=300)


def advice(job: Job, targets: Mapping[str, Target], today: date | None = None) -> Iterator[str]:
    """What to look at again before a run, one line each."""
    yield from _of_both_sides(job, targets)
    for name, spec in job.asked.items():
        yield from (f"{table_of(name)}.{words}" for words in _of_endpoint(spec, targets[name], today))
    yield from _of_judge(job)
    embedder = job.router.embedder
    if asks_for_vectors(job.router) and embedder.base_url and (meant := likely_address(embedder.base_url)):
        yield f"router.embedder.base_url is probably meant to be {_without_query(meant)}"


def _of_both_sides(job: Job, targets: Mapping[str, Target]) -> Iterator[str]:
    strong, weak = job.endpoints.strong, job.endpoints.weak
    if (strong.model, strong.base_url) == (weak.model, weak.base_url):
        differ = strong.sent_params != weak.sent_params
        only = "only their params differ" if differ else "routing between them changes nothing"
        yield f"strong and weak are the same model at the same address, {strong.model}: {only}"
        return
    prices = [targets[side].list_price for side in ("strong", "weak")]
    usd = [None if price is None else price.cost(_TYPICAL) for price in prices]
    if usd[0] is not None and usd[1] is not None and usd[0] < usd[1]:
        yield (
            f"strong costs less than weak: ${usd[0]:.6f} against ${usd[1]:.6f} for a row of 1,000 tokens in and "
            "300 out; were the two exchanged?"
        )


def _of_judge(job: Job) -> Iterator[str]:
    judge = job.judge
    for name, side in job.endpoints.items():
        if judge is not None and judge.model == side.model:
            yield (
                f"pilot.endpoint.model is that of the {name} side, {judge.model}: models favour answers of their "
                "own; let another one judge"
            )


def _of_endpoint(spec: EndpointSpec, target: Target, today: date | None) -> Iterator[str]:
    base_url = spec.addresses[0] if spec.addresses else ""
    host = urlsplit(base_url).hostname
    for address in spec.addresses:
        if meant := likely_address(address):
            yield f"base_url is probably meant to be {_without_query(meant)}"
    if any(map(wants_key, spec.addresses)) and not (spec.api_key_env or spec.api_key_command or spec.headers):
        yield f"api_key_env is missing, and {host} wants a key: name the variable that holds it"
    if spec.api == "chat":
        for param, what in refused_params(spec.model, base_url, spec.sent_params):
            yield f"params.{param} is refused by {spec.model}; {what}"
    if target.pricing is None and spec.price is None and not _is_own(host):
        for near in near_models(spec.model, host)[:1]:
            yield f"model {spec.model} has no known price; did you mean {near}?"
    if spec.simulate is None:
        yield from (f"model {words}" for words in _of_age(spec.model, host, today))


def _of_age(model: str, host: str | None, today: date | None) -> Iterator[str]:
    if words := leaving(model, today or datetime.now(UTC).date()):
        yield f"{model} {words}"
    elif not _is_own(host) and is_deprecated(model, host):
        yield f"{model} is listed as deprecated; look up its last day"


def _is_own(host: str | None) -> bool:
    """Whether it is a server of the user's, here or in their network, whose models are named at will."""
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".local", ".localhost", ".internal", ".lan", ".svc"))


def _without_query(url: str) -> str:
    """Keys stand in queries."""
    return urlsplit(url)._replace(query="").geturl()
