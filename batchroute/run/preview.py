"""The first requests of a job as its lanes would send them, and what is known of each; sends nothing.

They come from the very feed that a run has, so that a preview cannot say something else than a run does. Knows no
keys: a header that holds one is masked.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from batchroute.job.load import MASKED, masked_query
from batchroute.job.prices import open_targets
from batchroute.job.spec import RouterSpec
from batchroute.report.ties import Tie, tie_at
from batchroute.run.feed import Feed, RequestWriter
from batchroute.run.kept import kept_scores, kept_threshold
from batchroute.run.open import open_input, refuse_unbounded_media, refuse_unpriced
from batchroute.run.prepare import score_into
from batchroute.send.body import dialect_of
from batchroute.send.http import api_url
from batchroute.send.open import asks_for_vectors
from batchroute.send.tokens import estimate_tokens
from batchroute.store.rows import DoneRows
from batchroute.store.scores import FreeScores
from batchroute.types import SIDES, RouteReason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from decimal import Decimal

    from batchroute.input.open import Source
    from batchroute.job.endpoint import EndpointSpec
    from batchroute.job.prices import Target
    from batchroute.job.spec import Job
    from batchroute.send.request import Request
    from batchroute.store.scores import ScorePart
    from batchroute.types import Result

SIMULATED = "simulated on loopback"


class ShownRequest(msgspec.Struct, frozen=True):
    """What one endpoint would be sent for a row, byte for byte.

    `input_tokens` is an estimate, `tokens` what it takes of the endpoint's tokens per minute; `most_usd` bounds
    what one attempt costs, None where no price or no bound of the output is known.
    """

    endpoint: str
    model: str
    url: str
    headers: Mapping[str, str]
    input_tokens: int
    tokens: int
    most_usd: float | None
    body: msgspec.Raw


class ShownRow(msgspec.Struct, frozen=True):
    """A row, where it goes and why.

    `route` None: that depends on a threshold which is not known yet, so that there is a request for either side.
    `refusal`: why it would not be sent at all; then there is no request.
    """

    file: str
    row: int
    id: str | None
    score: float | None
    route: str | None
    route_reason: RouteReason | None
    refusal: str | None
    requests: list[ShownRequest]


class Preview(msgspec.Struct, frozen=True):
    """The first rows; `threshold` None: it is found when all rows are scored.

    `tie`: the rows for which more go strong than were asked for.
    """

    job: str
    threshold: float | None
    rows: list[ShownRow]
    tie: Tie | None = None


@dataclass(frozen=True, slots=True)
class _NothingSettled:
    """A preview shows the first rows whether or not a run has asked them."""

    done: DoneRows = field(default_factory=DoneRows)
    unsettled: Mapping[tuple[str, int], Result] = field(default_factory=dict)
    handed_over: Mapping[str, DoneRows] = field(default_factory=dict)


def preview_job(job: Job, rows: int) -> Preview:
    """The first `rows` rows. Scores them where the run directory has no scores yet; writes nothing, needs no keys.

    An embedder that is asked over the network is not: such rows have no score. Raises UsageFault where a run would
    refuse the input.
    """
    targets = open_targets(job.asked)
    refuse_unpriced(job, targets)
    source = open_input(job.input, job.router, Path(job.output.path), raw=job.output.raw)
    refuse_unbounded_media(job, source)
    with _scored(job, source, rows) as (parts, scored):
        threshold = kept_threshold(job) if scored else None
        # Where it is not known, one that sends all strong and one that sends all weak show what either may get.
        ends = {"strong": 0.0, "weak": math.inf} if threshold is None else dict.fromkeys(SIDES, threshold)
        by_row: dict[tuple[str, int], list[_Asked]] = {}
        for name, at in ends.items():
            for asked in _asked(job, targets[name], source, parts, at, rows):
                by_row.setdefault((asked.request.prompt.file, asked.request.prompt.row), []).append(asked)
        place_of = {file.name: number for number, file in enumerate(source.files)}
        in_order = sorted(by_row, key=lambda row: (place_of[row[0]], row[1]))
        shown = [_shown_row(job, by_row[row], scored=scored) for row in in_order]
        tie = tie_at(FreeScores(parts), threshold, job.routing.strong_fraction)
        return Preview(job.name, threshold, shown, tie)


@contextlib.contextmanager
def _scored(job: Job, source: Source, rows: int) -> Iterator[tuple[Sequence[ScorePart], bool]]:
    """The first rows' scores, and whether they are the router's: stored ones, else computed for now."""
    kept = kept_scores(job, source)
    if kept and (kept[-1].last or sum(part.rows for part in kept) >= rows):
        yield kept, True
        return
    known = not asks_for_vectors(job.router)
    router = job.router if known else RouterSpec(use="length", text=job.router.text)
    with tempfile.TemporaryDirectory(prefix="batchroute-") as folder:
        yield score_into(Path(folder), source, router, rows, lambda _: None).scores.parts, known


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request as the endpoint's lane would be given it, and the most that one attempt costs there."""

    endpoint: str
    request: Request
    most_usd: Decimal | None


def _asked(
    job: Job, target: Target, source: Source, parts: Sequence[ScorePart], threshold: float, rows: int
) -> Iterator[_Asked]:
    """Of the first `rows` rows those that go to one endpoint."""
    name, spec, pricing = target.name, job.endpoints[target.name], target.pricing
    held = pricing if job.limits.max_cost_usd is not None else None
    feed = Feed(name, source, job.endpoints, _NothingSettled(), pricing=held, limit=rows)
    priced = None if pricing is None else RequestWriter(spec, pricing)
    for part in parts:
        for requests in feed.requests(part, threshold):
            yield from (_Asked(name, request, _most_usd(request, priced)) for request in requests)


def _most_usd(request: Request, priced: RequestWriter | None) -> Decimal | None:
    """Also where no budget holds, so that the feed has not said it; None: the price or the output has no bound."""
    if priced is None:
        return None
    chars = request.chars
    bounded = priced(
        request.prompt, request.score, request.reason, chars=chars, tokens=estimate_tokens(chars), attempts=0
    )
    return None if bounded.prompt.refusal else bounded.most_usd


def _shown_row(job: Job, asked: Sequence[_Asked], *, scored: bool) -> ShownRow:
    """A row that either endpoint may get is open."""
    first, decided = asked[0].request, len(asked) == 1
    prompt = first.prompt
    return ShownRow(
        prompt.file,
        prompt.row,
        prompt.id,
        first.score if scored else None,
        asked[0].endpoint if decided else None,
        first.reason if decided else None,
        prompt.refusal,
        [] if prompt.refusal else [_shown_request(job.endpoints[each.endpoint], each) for each in asked],
    )


def _shown_request(spec: EndpointSpec, asked: _Asked) -> ShownRequest:
    request = asked.request
    return ShownRequest(
        asked.endpoint,
        spec.model,
        str(api_url(masked_query(spec.addresses[0]), dialect_of(spec).path)) if spec.addresses else SIMULATED,
        _headers(spec),
        estimate_tokens(request.chars),
        request.tokens,
        None if asked.most_usd is None else float(asked.most_usd),
        msgspec.Raw(request.body),
    )


def _headers(spec: EndpointSpec) -> dict[str, str]:
    """Those that the endpoint or the job adds; only what the API itself asks for can be read."""
    dialect = dialect_of(spec)
    key = {} if spec.api_key_env is None and spec.api_key_command is None else {_key_header(spec): MASKED}
    return {**dialect.headers, **dict.fromkeys(spec.headers, MASKED), **key}


def _key_header(spec: EndpointSpec) -> str:
    return spec.api_key_header or dialect_of(spec).key_header or "Authorization"
