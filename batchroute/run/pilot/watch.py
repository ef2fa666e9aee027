"""The watched rows of a run: a random share of those that are routed by score, which the other side is asked, too.

    rows    which rows of a part an endpoint is asked beside its own     seen           a row's own answer
    settle  what the other side said                                      watch_figures  what was kept

Which rows are watched depends on their place and the seed alone, so that a run that goes on watches the same ones.
Nothing is graded before all rows have their ends; the answers wait in the pilot's journal until then.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from batchroute.quality.watch import watch
from batchroute.report.quality import Watch, WatchGroup
from batchroute.route.sides import STRONG, WEAK, input_limits
from batchroute.run.pilot.answers import PilotAnswers
from batchroute.run.pilot.judge import AnsweredRow
from batchroute.run.settle import settled
from batchroute.send.classify import stop_reason
from batchroute.send.request import Request
from batchroute.send.tokens import estimate_tokens
from batchroute.store.rows import DoneRows
from batchroute.types import SIDES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from batchroute.job.prices import Target
    from batchroute.job.spec import Endpoints
    from batchroute.route.sides import Routes
    from batchroute.run.pilot.sample import SampledRow
    from batchroute.send.request import Outcome, Spent
    from batchroute.store.pilot import PilotStore
    from batchroute.store.scores import ScoredRows
    from batchroute.types import Floats, Result, StopReason

    Rows = NDArray[np.bool_]

MOST_WATCHED = 10_000  # rows of a job, about: more say little more, and are held in memory to be graded
_TO_SHARE = 2.0**-64


class WatchedRows:
    """Of one run; `share` of its rows are watched."""

    def __init__(
        self, endpoints: Endpoints, targets: Mapping[str, Target], store: PilotStore, *, share: float, seed: int
    ) -> None:
        self._limits = input_limits(spec for _, spec in endpoints.items())
        self._targets = targets
        self._store = store
        self._share = share
        self._seed = seed
        self._beside = PilotAnswers(store, targets, "watch")
        self._own = PilotAnswers(store, targets, "seen")
        self._keys: dict[str, np.uint64] = {}

    def limit_to(self, rows: int) -> None:
        """The share that keeps to MOST_WATCHED of so many rows."""
        self._share = min(self._share, MOST_WATCHED / max(1, rows))

    def rows(self, scored: ScoredRows, routes: Routes, done: Rows, name: str) -> Rows:
        """[n] which rows the endpoint `name` is asked although their scores send them to the other one.

        Of those `done` [n] none whose own answer was not kept, as before `watch` was set: it would say nothing.
        """
        here = SIDES.index(name)
        by_score = ~(np.isnan(scored.score) | routes.forced | routes.moved | routes.too_long)
        fits = estimate_tokens(scored.chars) <= self._limits.longest[here]
        found: Rows = by_score & fits & ~routes.on(name)
        for code, file in enumerate(scored.files):
            mine = found & (scored.file == code)
            found[mine] = self._is_watched(file, scored.row[mine])
        for place in np.flatnonzero(found & done).tolist():
            found[place] = self._is_seen(scored.files[scored.file[place]], int(scored.row[place]))
        return found

    def wants(self, name: str, request: Request) -> bool:
        """Whether such a row is still to be asked; what the pilot asked both sides is graded there."""
        prompt = request.prompt
        is_pilot_row = self._store.get("pilot", name, prompt.file, prompt.row) is not None
        return prompt.refusal is None and not is_pilot_row and not self._beside.has_ended(name, request)

    def settle(self, name: str, request: Request, outcome: Outcome) -> StopReason | None:
        """Puts an answer on file; a reason where the endpoint can do no more. Without money it stays unasked."""
        self._beside.put(name, request, outcome)
        is_over_budget = outcome.answer.verdict == "over_budget"
        return stop_reason(outcome.answer) if outcome.status == "open" and not is_over_budget else None

    def leave(self, name: str, request: Request, spent: Spent) -> None:
        """A request stays undone."""
        self._beside.leave(name, request, spent)

    def seen(self, name: str, request: Request, outcome: Outcome) -> None:
        """The answer of a row's own side, which is about to be its result."""
        if request.reason == "score" and self._is_watched(request.prompt.file, np.array([request.prompt.row]))[0]:
            self._own.put(name, request, outcome)

    def answered_rows(self) -> DoneRows:
        """Those that both sides have answered."""
        own = {(record.file, record.row) for record in self._store.of("seen")}
        found = DoneRows()
        for record in self._store.of("watch"):
            if record.status != "open" and (record.file, record.row) in own:
                found.add_row(record.file, record.row)
        return found

    def answered(self, row: SampledRow) -> tuple[AnsweredRow, str] | None:
        """Both answers of such a row, and the route it took."""
        request = Request(row.prompt, b"", 0, row.score, "score")
        found = {name: self._own.find(name, request) for name in SIDES}
        routes = [name for name, outcome in found.items() if outcome is not None]
        if len(routes) != 1:
            return None
        [route] = routes
        results: dict[str, Result] = {}
        for name in SIDES:
            outcome = found[name] if name == route else self._beside.find(name, request)
            if outcome is None:
                return None
            results[name] = settled(request, outcome, self._targets[name], None, 0, raw=False)
        return AnsweredRow(row, results["strong"], results["weak"]), route

    def _is_seen(self, file: str, row: int) -> bool:
        return any(self._store.get("seen", name, file, row) is not None for name in SIDES)

    def _is_watched(self, file: str, rows: NDArray[np.int64]) -> Rows:
        if file not in self._keys:
            key = self._seed.to_bytes(8, "little", signed=False)
            digest = blake2b(file.encode(), digest_size=8, key=key).digest()
            self._keys[file] = np.uint64(int.from_bytes(digest, "little"))
        watched: Rows = _mixed(rows.astype(np.uint64) ^ self._keys[file]) * _TO_SHARE < self._share
        return watched


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Numbers that look random: the finaliser of splitmix64 (Steele, Lea and Flood 2014), over [n] others."""
    with np.errstate(over="ignore"):
        mixed = numbers * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        last: NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
        return last


@dataclass(frozen=True, slots=True)
class WatchedGrades:
    """[n] of the rows that were asked of both sides: the grades, and the route each took."""

    strong: Floats
    weak: Floats
    routes: Sequence[str]

    @property
    def routed(self) -> Floats:
        goes_strong = np.array([route == SIDES[STRONG] for route in self.routes], np.bool_)
        return np.where(goes_strong, self.strong, self.weak)


def watch_figures(grades: WatchedGrades, confidence: float) -> Watch:
    """What was kept on these rows, and on those of each route; bounds are one-sided, and there from 30 rows on."""
    routes = np.array(grades.routes)
    groups = [
        _group(name, grades.routed[routes == name], grades.strong[routes == name], confidence)
        for name in (SIDES[STRONG], SIDES[WEAK])
        if (routes == name).any()
    ]
    whole = _group("all", grades.routed, grades.strong, confidence)
    return Watch(rows=whole.rows, kept=whole.kept, low=whole.low, high=whole.high, by_route=groups)


def _group(name: str, routed: Floats, strong: Floats, confidence: float) -> WatchGroup:
    if not len(strong):
        return WatchGroup(name=name, rows=0, kept=None, low=None, high=None)
    found = watch(routed, strong, confidence=confidence)
    return WatchGroup(name=name, rows=found.rows, kept=found.kept, low=found.low, high=found.high)
