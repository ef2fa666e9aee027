"""Is a job fit to run? Every fault at once, and what is worth knowing; sends nothing."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import numpy as np

from batchroute.errors import BatchrouteError
from batchroute.input.growing import appended
from batchroute.job.prices import is_loopback, open_embedder_target, open_targets, price_words
from batchroute.report.lanes import few_words
from batchroute.run.advice import advice
from batchroute.run.hints import NO_ROWS
from batchroute.run.open import open_input, refuse_unbounded_media, refuse_unpriced
from batchroute.run.pilot.cost import budget_warnings, cost_words, open_pilot_rows
from batchroute.run.pilot.fit import (
    grade_sample,
    input_with_references,
    missing_earlier_run,
    open_references,
    pilot_looks,
    refuse_no_references,
)
from batchroute.run.pilot.found import found_by_pilot
from batchroute.run.process import raise_file_limit
from batchroute.run.shards.likely import is_for_shards, shard_notes, shard_warnings
from batchroute.score.router import check_router
from batchroute.send.open import asked_by, asks_for_vectors, connections, refuse_bad_proxy
from batchroute.send.reuse import answered_parts
from batchroute.store.directory import keeps_raw
from batchroute.store.files import refuse_file_in_the_way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from batchroute.input.chunk import Chunk
    from batchroute.input.open import Source
    from batchroute.job.endpoint import EndpointSpec
    from batchroute.job.prices import Target
    from batchroute.job.spec import EmbedderSpec, Job, Notify
    from batchroute.run.pilot.cost import PilotRows

    Found = TypeVar("Found")

SHOWN_ROWS = 3  # refused rows that are quoted, of however many there are


@dataclass(slots=True)
class Findings:
    """What a check found: `faults` keep the job from running; `warnings` are hardly meant, `notes` neither."""

    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def attempt(self, look: Callable[[], Found]) -> Found | None:
        """What `look` returns; None, and a fault more, where it finds the job unfit."""
        try:
            return look()
        except BatchrouteError as fault:
            if str(fault) not in self.faults:  # both sides may have the same
                self.faults.append(str(fault))
            return None


def check_job(load: Callable[[], Job], limit: int | None = None) -> Findings:
    """Looks at everything a run would, in the order in which a run would meet it; reads up to `limit` rows."""
    found = Findings()
    job = found.attempt(load)
    if job is None:
        return found
    targets = found.attempt(partial(open_targets, job.asked))
    if targets is None:
        return found
    found.attempt(lambda: refuse_unpriced(job, targets))
    raw, path = job.output.raw, Path(job.output.path)
    found.attempt(lambda: refuse_file_in_the_way(path))
    source = found.attempt(lambda: open_input(input_with_references(job), job.router, path, raw=raw))
    if source is not None:
        found.attempt(partial(refuse_unbounded_media, job, source))
        pilot = open_pilot_rows(job, targets, source)
        found.notes += found.attempt(lambda: list(_input_notes(source, limit, pilot))) or []
        found.notes += found.attempt(lambda: _reuse_notes(job, raw=keeps_raw(job, source))) or []
        _look_at_pilot(found, job, source, limit, pilot)
        _look_at_shards(found, job, source, limit)
    for look in pilot_looks(job):
        found.attempt(look)
    found.attempt(lambda: check_router(job.router))
    found.attempt(lambda: raise_file_limit(connections(asked_by(job))))
    for name, spec in job.asked.items():
        found.attempt(partial(refuse_bad_proxy, spec))
        found.notes += _endpoint_notes(spec, targets[name])
    if asks_for_vectors(job.router):
        found.notes += _embedder_notes(job.router.embedder)
    found.warnings += advice(job, targets)
    found.warnings += _notify_warnings(job.notify)
    return found


def _look_at_pilot(found: Findings, job: Job, source: Source, limit: int | None, pilot: PilotRows | None) -> None:
    """What the rows say of it: its cost, their right answers, and what the user's class makes of them."""
    if job.pilot is None or pilot is None:
        return
    if (ended := found.attempt(partial(found_by_pilot, job))) is not None:
        found.notes.append(f"pilot: is at its end, and asks no more; {ended.brief}")
    else:
        forecast = pilot.forecast()
        found.notes += cost_words(forecast, job.pilot)
        found.warnings += [*budget_warnings(forecast, job.limits), *filter(None, [missing_earlier_run(job)])]
    found.attempt(partial(grade_sample, job, source))
    references = found.attempt(partial(open_references, job))
    if references is not None:
        unread = found.attempt(partial(refuse_no_references, job.pilot, references, limit))
        found.notes += [] if unread is None else [unread]


def _look_at_shards(found: Findings, job: Job, source: Source, limit: int | None) -> None:
    """How the input is likely to be cut; not where only some of it is to be read."""
    if not is_for_shards(job):
        return
    if limit is None:
        found.notes += found.attempt(lambda: list(shard_notes(job, source))) or []
    found.warnings += found.attempt(lambda: list(shard_warnings(job, source))) or []


def _notify_warnings(notify: Notify) -> Iterator[str]:
    """Whether its program is there: a night is too late to learn that."""
    if notify.command and shutil.which(notify.command[0]) is None:
        yield (
            f"notify.command: no program {notify.command[0]} is found here; give its whole path, and its "
            "arguments as further elements of the list"
        )


def _input_notes(source: Source, limit: int | None, pilot: PilotRows | None) -> Iterator[str]:
    rows = refused = 0
    quoted: list[str] = []
    for chunk in source.chunks():
        part = chunk if limit is None else chunk.head(limit - rows)
        questions = part.questions()
        if pilot is not None:
            pilot.add(part, questions)
        bad = np.flatnonzero(questions.refused)
        quoted += islice(_refusals(part, bad), SHOWN_ROWS - len(quoted))
        rows, refused = rows + len(part.rows), refused + len(bad)
        if rows == limit:
            break
    yield f"input: {rows:,} rows in {len(source.files):,} files, {source.format}"
    if rows == 0:
        yield NO_ROWS
    if refused:
        yield f"input: {refused:,} rows will be refused: {'; '.join(quoted)}" + (
            " ..." if refused > len(quoted) else ""
        )
    if words := appended(source.files):
        yield words
    if source.replaced:
        yield f"input: {source.replaced:,} lone surrogates become U+FFFD"


def _reuse_notes(job: Job, *, raw: bool) -> list[str]:
    answers = answered_parts(job.input.reuse, Path(job.output.path), raw=raw).answers
    return [f"reuse: {answers:,} answers to take over where a row asks the same"] if job.input.reuse else []


def _refusals(chunk: Chunk, bad: np.typing.NDArray[np.int64]) -> Iterator[str]:
    if not len(bad):
        return
    yield from (f"{chunk.file}: {prompt.refusal}" for prompt in chunk.prompts(bad[:SHOWN_ROWS]))


def _endpoint_notes(spec: EndpointSpec, target: Target) -> Iterator[str]:
    where = "simulated on loopback" if spec.simulate else few_words(spec.addresses)
    where = where if spec.api == "chat" else f"{where} (the {spec.api} API)"
    yield f"{target.name}: {spec.model}, {where}; {price_words(target.pricing)}"
    if _has_key(spec) and any(map(_travels_open, spec.addresses)):
        yield f"{target.name}: the key goes to another host over plain http; use https"


def _embedder_notes(spec: EmbedderSpec) -> Iterator[str]:
    yield f"embedder: {spec.model}, {spec.base_url}; {price_words(open_embedder_target(spec).pricing)}"
    if spec.base_url and _has_key(spec) and _travels_open(spec.base_url):
        yield "embedder: the key goes to another host over plain http; use https"


def _has_key(spec: EndpointSpec | EmbedderSpec) -> bool:
    return spec.api_key_env is not None or spec.api_key_command is not None


def _travels_open(base_url: str) -> bool:
    address = urlsplit(base_url)
    return address.scheme == "http" and not is_loopback(address.hostname)
