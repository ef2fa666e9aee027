"""Does each endpoint answer as the job expects? A look at its models, one request of a few tokens.

The only part of `check` that sends. Knows no rows; what an answer means is decided in `send/classify`.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from batchroute.job.prices import attempt_usd, open_embedder_target, open_targets
from batchroute.job.rules import OUTPUT_BOUNDS
from batchroute.run.process import run_loop
from batchroute.score.api.requests import RequestBuilder, read_vectors
from batchroute.send.body import dialect_of, open_body
from batchroute.send.classify import stop_reason
from batchroute.send.endpoint import Endpoint
from batchroute.send.http import CONNECT_TIMEOUT_S, Transport
from batchroute.send.open import asked_by, asks_for_vectors, embedder_address, open_addresses, scrubber_for
from batchroute.types import Prompt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchroute.job.endpoint import EndpointSpec
    from batchroute.job.prices import Target
    from batchroute.job.secrets import Scrubber
    from batchroute.job.spec import EmbedderSpec, Job
    from batchroute.send.classify import Answer
    from batchroute.send.http import Address

QUESTION = b'[{"role":"user","content":"Say OK."}]'
LEAST_TOKENS = {"responses": 16}  # the API refuses fewer; the others take 1
LONGEST_LIST = 8 << 20  # bytes of a list of models that are read
TIMEOUT_S = 60.0


@dataclass(slots=True)
class OnlineFindings:
    """What the endpoints said: `faults` would stop a run, `warnings` and `notes` would not."""

    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def check_online(job: Job, environ: Mapping[str, str]) -> OnlineFindings:
    """Asks all endpoints, and the embedder where its API is asked; blocks. JobFault: a key is missing."""
    return run_loop(_check(job, environ))


async def _check(job: Job, environ: Mapping[str, str]) -> OnlineFindings:
    found, targets = OnlineFindings(), open_targets(job.asked)
    scrub = scrubber_for(asked_by(job), environ)
    async with contextlib.AsyncExitStack() as stack:
        for name, spec in job.asked.items():
            addresses = await open_addresses(spec, job.limits, environ, stack)
            looks = [_look_at(address, spec, scrub, targets[name]) for address in addresses.values()]
            looked = await asyncio.gather(*looks)
            names = [name] if len(addresses) == 1 else [f"{name}, {where}" for where in addresses]
            _add_all(found, names, looked)
        if asks_for_vectors(job.router):
            embedder = job.router.embedder
            address = embedder_address(embedder, job.limits, environ)
            answer = await _embed(address, embedder, scrub)
            _add_all(found, ["embedder"], [_found(answer, open_embedder_target(embedder))])
    return found


async def _ask(address: Address, spec: EndpointSpec, scrub: Scrubber) -> Answer:
    """With the job's own params, so that one the model does not take is found here."""
    body = open_body(spec)(Prompt("", 0, None, QUESTION, _shortest(spec)))
    async with Transport(address) as transport:
        return await Endpoint(transport, scrub, read=dialect_of(spec).read).send(body.sent)


def _shortest(spec: EndpointSpec) -> dict[str, Any]:
    """The least output that may be asked for, under the name by which the job bounds it."""
    named = [name for name in OUTPUT_BOUNDS if spec.params.get(name) is not None]
    bounds = dict.fromkeys(named or [_usual_bound(spec)], LEAST_TOKENS.get(spec.api, 1))
    return {**bounds, "n": 1} if "n" in spec.params else bounds


def _usual_bound(spec: EndpointSpec) -> str:
    """OpenAI's newer models take no other name than theirs, which other servers may not know."""
    host = urlsplit(spec.addresses[0]).hostname or "" if spec.addresses else ""
    is_openai = host.endswith((".openai.com", ".azure.com"))
    return "max_completion_tokens" if is_openai and spec.api == "chat" else "max_tokens"


async def _embed(address: Address, spec: EmbedderSpec, scrub: Scrubber) -> Answer:
    builder = RequestBuilder(spec, None)
    [texts] = builder.group(["OK"])
    async with Transport(address) as transport:
        return await Endpoint(transport, scrub, read=read_vectors).send(builder.build(texts, as_base64=False).body)


async def _look_at(address: Address, spec: EndpointSpec, scrub: Scrubber, target: Target) -> OnlineFindings:
    models = await _models(address, dialect_of(spec).path, spec.model, scrub)
    answered = _found(await _ask(address, spec, scrub), target)
    return OnlineFindings([models, *answered.notes], answered.faults)


def _found(answer: Answer, target: Target) -> OnlineFindings:
    if answer.verdict == "ok":
        return OnlineFindings([_words(answer, target)])
    if answer.verdict in {"rate_limited", "busy"}:
        return OnlineFindings([f"takes the key, and is busy now: {answer.error}"])
    return OnlineFindings(faults=[str(stop_reason(answer))])


def _add_all(found: OnlineFindings, names: Sequence[str], looked: Sequence[OnlineFindings]) -> None:
    """What each of them says; one that answers nothing does not stop a run in which others do."""
    hopeless = all(each.faults for each in looked)
    for name, each in zip(names, looked, strict=True):
        found.notes += [f"{name}: {note}" for note in each.notes]
        faults = [f"{name}: {fault}" for fault in each.faults]
        if hopeless:
            found.faults += faults
        else:
            found.warnings += [f"{fault}; the other addresses would be asked instead" for fault in faults]


def _words(answer: Answer, target: Target) -> str:
    """Who answered, what of the usage was understood, and what it cost."""
    completion, usage = answer.completion, answer.usage
    served = (completion and completion.served_model) or "a model that is not named"
    if usage is None:
        return f"{served} answered in {answer.latency_s:.1f} s, without usage: its costs will be unknown"
    counts = (
        ("in", usage.prompt_tokens),
        ("of it cached", usage.cached_tokens),
        ("written to a cache", usage.cache_write_tokens),
        ("out", usage.completion_tokens),
        ("of it reasoning", usage.reasoning_tokens),
    )
    tokens = ", ".join(f"{number} {what}" for what, number in counts if number is not None)
    cost = attempt_usd(usage, target.pricing)
    price = "at an unknown price" if cost is None else f"for ${cost:.7f}"
    tier = "" if usage.service_tier is None else f" in the tier {usage.service_tier}"
    return f"{served} answered in {answer.latency_s:.1f} s{tier}: {tokens} tokens, {price}"


async def _models(address: Address, path: str, model: str, scrub: Scrubber) -> str:
    """What the list of models says of the one asked for; many servers have none, which is no fault."""
    url = address.url.with_path(address.url.raw_path.removesuffix(path) + "models", encoded=True, keep_query=True)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, auto_decompress=True) as session,
            session.get(url, headers=address.headers, proxy=address.proxy, allow_redirects=False) as response,
        ):
            body = await response.content.read(LONGEST_LIST)
            status = response.status
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return scrub(f"no list of models ({type(error).__name__})")
    if status != 200:
        return f"no list of models (HTTP {status})"
    names = _names(body)
    if not names:
        return "its list of models cannot be read"
    return f"{model} is among its {len(names):,} models" if model in names else _unlisted(model, names)


def _names(body: bytes) -> set[str]:
    try:
        listed = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return set()
    items = listed.get("data", listed.get("models")) if isinstance(listed, dict) else listed
    found = (item.get("id") or item.get("name") for item in items or () if isinstance(item, dict))
    # Google's names begin with `models/`, which is left out where one is asked for.
    return {name.removeprefix("models/") for name in found if isinstance(name, str)}


def _unlisted(model: str, names: set[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - rarely needed

    near = get_close_matches(model, sorted(names), 3, 0.6)
    return f"{model} is not among its {len(names):,} models" + (f"; near: {', '.join(near)}" if near else "")
