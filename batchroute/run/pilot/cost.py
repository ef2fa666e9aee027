"""What a job's pilot costs beside its rows, before it is asked: what is expected, and what it can cost at most.

Reads the input for it: how long the rows are that may be drawn, and which of them can cost the most. The sums are
`route/forecast/pilot`'s. Sends nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batchroute.grade.shown import CONVERSATION_CHARS
from batchroute.job.pilot import JUDGE_NAME, table_of
from batchroute.job.rules import longest_output
from batchroute.route.forecast.assumptions import NANO, assume
from batchroute.route.forecast.estimator import assume_endpoints
from batchroute.route.forecast.evidence import Band, token_ratio
from batchroute.route.forecast.pilot import NOTHING, VERDICT_TOKENS, EligibleRows, Judging, pilot_cost
from batchroute.route.sides import longest_input
from batchroute.run.pilot.most import DearestRows, judge_messages
from batchroute.run.pilot.verdicts import QUESTIONS
from batchroute.send.tokens import estimate_tokens
from batchroute.store.scores import ScoredRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batchroute.input.chunk import Chunk
    from batchroute.input.open import Source
    from batchroute.job.pilot import PilotSpec
    from batchroute.job.prices import Target
    from batchroute.job.spec import Job, Limits
    from batchroute.route.forecast.assumptions import Assumptions
    from batchroute.route.forecast.pilot import PilotCost
    from batchroute.store.scores import ScorePart
    from batchroute.types import Media, Questions

NOTABLE_SHARE = 0.02  # of what all rows on the strong side would cost: a pilot above it says so


@dataclass(frozen=True, slots=True)
class PilotForecast:
    """What is expected, and the most that one attempt for everything can cost: see `PilotCost`.

    `most_usd` None: there is no most, as nothing bounds the answers of `unbounded`, tables of the job, or as a
    price is unknown. `judge_most_usd` is a part of it. `all_strong_usd`: of the whole input, at the list price.
    """

    cost: PilotCost
    most_usd: float | None
    judge_most_usd: float | None
    unbounded: tuple[str, ...]
    all_strong_usd: float | None

    @property
    def share(self) -> float | None:
        """What is expected, of what all rows would cost on the strong side."""
        total, whole = self.cost.total_usd, self.all_strong_usd
        return None if total is None or not whole else total.mid / whole


def forecast_pilot(
    job: Job,
    targets: Mapping[str, Target],
    source: Source,
    parts: Sequence[ScorePart] = (),
    limit: int | None = None,
) -> PilotForecast | None:
    """Of the first `limit` rows; None where the job has no pilot. `parts`: the scores, where there are some."""
    rows = open_pilot_rows(job, targets, source, parts)
    if rows is None:
        return None
    left = limit
    for chunk in source.chunks():
        part = chunk if left is None else chunk.head(left)
        rows.add(part, part.questions())
        left = None if left is None else left - len(part.rows)
        if left == 0:
            break
    return rows.forecast()


def open_pilot_rows(
    job: Job, targets: Mapping[str, Target], source: Source, parts: Sequence[ScorePart] = ()
) -> PilotRows | None:
    """What the rows of the input are added to; None where the job has no pilot."""
    if job.pilot is None:
        return None
    assumed = assume_endpoints(job, targets, source, parts)
    judging = _judging(job, targets, source, parts)
    brings = job.input.params is not None or source.format == "openai-batch"
    return PilotRows(job, job.pilot, targets, assumed, judging, rows_bring_params=brings)


def _judging(
    job: Job, targets: Mapping[str, Target], source: Source, parts: Sequence[ScorePart]
) -> Judging | None:
    spec, pilot = job.judge, job.pilot
    if spec is None or pilot is None:
        return None
    ratio = token_ratio(spec.model, source, parts)
    assumed = assume(spec, targets[JUDGE_NAME].list_price, ratio, None, VERDICT_TOKENS)
    words = len(judge_messages(pilot, b"[]"))
    return Judging(
        assumed, len(QUESTIONS[pilot.judge]), answers=2 if pilot.judge == "pairwise" else 1, words=words
    )


class PilotRows:
    """The rows that may be drawn, added up chunk by chunk."""

    def __init__(
        self,
        job: Job,
        pilot: PilotSpec,
        targets: Mapping[str, Target],
        assumed: Mapping[str, Assumptions],
        judging: Judging | None,
        *,
        rows_bring_params: bool,
    ) -> None:
        self._pilot = pilot
        self._assumed = assumed
        self._judging = judging
        self._longest = min(longest_input(spec) for _, spec in job.endpoints.items())
        self._rows = 0
        self._nano = {name: np.zeros(len(Band._fields)) for name in assumed}
        self._shown_chars = 0
        self._all_strong_nano = 0.0
        is_priced = all(target.list_price is not None for target in targets.values())
        self._dearest = None
        if is_priced:
            self._dearest = DearestRows(job, pilot, targets, rows_bring_params=rows_bring_params)
        self._unbounded = () if rows_bring_params else tuple(_unbounded(job))

    def add(self, chunk: Chunk, questions: Questions) -> None:
        """Takes the rows of a chunk."""
        rows = _as_scored(chunk, questions)
        usable = ~np.isnan(rows.score)
        is_free = rows.forced == None  # noqa: E711 - element by element
        eligible = usable & is_free & (estimate_tokens(rows.chars) <= self._longest)
        self._rows += int(np.count_nonzero(eligible))
        for name, assumptions in self._assumed.items():
            self._nano[name] += assumptions.costs(assumptions.chars(rows)[eligible]).sum(axis=1)
        self._shown_chars += int(np.minimum(rows.chars[eligible], CONVERSATION_CHARS).sum())
        strong = self._assumed["strong"]
        self._all_strong_nano += float(strong.list_cost(strong.chars(rows)[usable]).sum())
        if self._dearest is not None:
            self._dearest.add(chunk, rows, eligible)

    def forecast(self) -> PilotForecast:
        """Of all rows so far."""
        rows = max(1, self._rows)
        nano = {name: Band(*(sums / rows).tolist()) for name, sums in self._nano.items()}
        eligible = EligibleRows(self._rows, nano, self._shown_chars / rows)
        most = None if self._dearest is None or self._unbounded else self._dearest.most_usd()
        strong_price = self._assumed["strong"].pricing
        return PilotForecast(
            cost=pilot_cost(self._pilot, eligible, self._assumed, self._judging),
            most_usd=None if most is None else float(sum(most)),
            judge_most_usd=None if most is None else float(most.judge),
            unbounded=self._unbounded,
            all_strong_usd=None if strong_price is None else self._all_strong_nano / NANO,
        )


def _unbounded(job: Job) -> Iterator[str]:
    for name, spec in job.asked.items():
        if not longest_output(spec.sent_params):
            yield table_of(name)


def _as_scored(chunk: Chunk, questions: Questions) -> ScoredRows:
    """The rows of a chunk as they are once they are scored, all with the same score."""
    rows = len(chunk.rows)
    media: dict[Media, list[int]] = {}
    for row, parts in enumerate(questions.media):
        if parts is not None:
            media.setdefault(parts, []).append(row)
    return ScoredRows(
        files=[chunk.file],
        file=np.zeros(rows, np.int32),
        row=chunk.rows,
        score=np.where(questions.refused, np.nan, 0.0),
        forced=np.array(questions.forced, object),
        chars=questions.chars,
        media={parts: np.array(having, np.int64) for parts, having in media.items()},
    )


def cost_words(found: PilotForecast, pilot: PilotSpec) -> Iterator[str]:
    """Lines of `check`: what the pilot costs at most, what is expected, and the rest that is worth knowing."""
    cost = found.cost
    sides = f"{cost.rows:,} rows on both sides"
    expected = (
        "at an unknown cost, as a price is"
        if cost.cost_usd is None
        else f"about {_usd(cost.cost_usd.mid)} expected"
    )
    if found.most_usd is not None and found.judge_most_usd is not None:
        judge = f" (judge {_usd(found.judge_most_usd)} of it)" if cost.judge_usd != NOTHING else ""
        yield f"pilot: at most {_usd(found.most_usd)} beside the rows{judge}: {sides}, {expected}"
    elif found.unbounded and cost.cost_usd is not None:
        needs = ", ".join(f"{table}.params" for table in found.unbounded)
        yield f"pilot: {sides}, {expected} beside the rows; at most: unknown until max_tokens is in {needs}"
    else:
        yield f"pilot: {sides}, {expected}"
    if found.share is not None and found.share > NOTABLE_SHARE:
        yield f"pilot: that is about {found.share:.1%} of what all rows on the strong side would cost"
    if cost.watch_rows and cost.watch_usd is not None:
        rows = f"{cost.watch_rows:,} later rows on both sides"
        yield f"pilot: watch = {pilot.watch} asks about {rows}, about {_usd(cost.watch_usd.mid)} expected"
    if pilot.rows != "auto" and cost.eligible < pilot.rows:
        yield (
            f"pilot: pilot.rows = {pilot.rows:,}, but only {cost.eligible:,} rows can be drawn (refused ones, too "
            "long ones and those that demand a side cannot): all of them are asked on both sides"
        )


def budget_warnings(found: PilotForecast, limits: Limits) -> Iterator[str]:
    """Where the job's budget may not even do for the pilot."""
    most, limit = found.most_usd, limits.max_cost_usd
    if most is not None and limit is not None and limit < most:
        yield (
            f"limits.max_cost_usd = {limit} is less than the {_usd(most)} that the pilot can cost at most beside "
            "its rows: the run may stop before it knows what to route; raise it, or ask fewer pilot.rows"
        )


def _usd(usd: float) -> str:
    """To a hundredth of a cent where there is less than a dollar."""
    return f"${usd:,.2f}" if usd >= 1 or usd == 0 else f"${usd:,.4f}"
