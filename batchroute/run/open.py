"""What every command does with a job before it works on it: opens the input, refuses what cannot be priced."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np

from batchroute.errors import InputFault, UsageFault
from batchroute.input.look import refuse_unreadable
from batchroute.input.open import open_source
from batchroute.job.media import media_tokens
from batchroute.job.pilot import table_of
from batchroute.job.prices import is_loopback, open_embedder_target
from batchroute.send.open import asks_for_vectors
from batchroute.store.columns import reserved_names
from batchroute.store.identity import known_identity
from batchroute.store.layout import RunLayout
from batchroute.store.shards import read_shards
from batchroute.store.unsealed import has_answers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from batchroute.input.file import Fingerprint
    from batchroute.input.open import Source
    from batchroute.job.endpoint import EndpointSpec
    from batchroute.job.prices import Target
    from batchroute.job.spec import InputSpec, Job, RouterSpec
    from batchroute.store.identity import Identity


def open_input(spec: InputSpec, router: RouterSpec, output: Path | None, *, raw: bool = False) -> Source:
    """Looked at, and read no further than `refuse_unreadable` must.

    `output` is the run's directory where there is to be one. `raw`: whole answers are kept, so that a row may ask
    for several choices.
    """
    embedder = router.embedder
    identity = None if output is None else known_identity(RunLayout(output))
    begun = None if output is None else _begun(RunLayout(output), identity)
    source = open_source(
        spec,
        score_text=router.text,
        vector_column=embedder.column if embedder.use == "column" else None,
        reserved=reserved_names() if identity is None else reserved_names(identity.format),
        output=output,
        raw=raw,
        begun=begun,
    )
    refuse_unreadable(source)
    if begun is None and (rows := source.count(spec.min_rows)) < spec.min_rows:
        raise InputFault(
            f"the input has only {rows:,} rows, input.min_rows asks for {spec.min_rows:,}; nothing was sent"
        )
    return source


def _begun(run: RunLayout, identity: Identity | None) -> dict[str, Fingerprint] | None:
    """The input's files as they were when the run began, which its shards or its first answer have frozen."""
    shards = read_shards(run)
    if shards is not None:
        return {file.name: file for file in shards.files}
    return {file.name: file for file in identity.files} if identity is not None and has_answers(run) else None


def refuse_unpriced(job: Job, targets: Mapping[str, Target]) -> None:
    """UsageFault where a budget is to hold for a model whose price is unknown; `targets` are all that is asked."""
    caps_run, routes_by_cost = job.limits.max_cost_usd is not None, job.routing.budget_usd is not None
    if not (caps_run or routes_by_cost):
        return
    counted = job.asked if caps_run else dict(job.endpoints.items())
    unpriced = [name for name in counted if targets[name].list_price is None]
    unknown = [f"{table_of(name)}.price{_why(counted[name], targets[name])}" for name in unpriced]
    if caps_run and asks_for_vectors(job.router) and open_embedder_target(job.router.embedder).pricing is None:
        unknown.append("router.embedder.price")
    if unknown:
        budget = "limits.max_cost_usd" if caps_run else "routing.budget_usd"
        raise UsageFault(f"{budget} needs prices: set {', '.join(unknown)}, in USD per million tokens")


def refuse_unbounded_media(job: Job, source: Source) -> None:
    """UsageFault where a budget is to hold for media whose tokens nothing bounds.

    Looks at the beginning of the input, as nothing but its rows says whether there are any; such a row further on
    is refused when its turn comes.
    """
    may_have_media = job.input.messages is not None or source.format == "openai-batch"
    if job.limits.max_cost_usd is None or not may_have_media:
        return
    chunk = next(source.chunks(), None)
    prompts = [] if chunk is None else chunk.prompts(np.arange(len(chunk.rows)))
    kinds = {prompt.media for prompt in prompts if prompt.media is not None}
    unknown = [
        f"endpoints.{name}.max_media_tokens"
        for name, spec in job.endpoints.items()
        if any(media_tokens(spec.model, spec.max_media_tokens).most(media) is None for media in kinds)
    ]
    if unknown:
        raise UsageFault(
            "limits.max_cost_usd needs a bound on the tokens of images, sounds and files: set "
            f"{', '.join(unknown)}, or give images a detail whose tokens the provider limits, such as low"
        )


def _why(spec: EndpointSpec, target: Target) -> str:
    """Why the table has no price, where it may know the model."""
    if target.pricing is not None:
        return f" (the table has none for the tier {target.pricing.asked})"
    on_loopback = any(is_loopback(urlsplit(url).hostname) for url in spec.addresses)
    return " (a server on this machine takes none from the table)" if on_loopback else ""
