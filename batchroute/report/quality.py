"""What a pilot measured and promises, as report.json and pilot.json have it; shares lie in [0, 1], money in USD.

Knows no statistics and no answers: who measured puts the figures here. None stands for unknown, never 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from batchroute.store.files import decoding
from batchroute.store.layout import RunLayout
from batchroute.types import Verdict  # noqa: TC001 - msgspec reads it

if TYPE_CHECKING:
    from pathlib import Path


_BROKEN = "all answers are on file; run the next job with a new pilot, without pilot.reuse"


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True):
    """What one router keeps of the strong side's quality where it sends this share strong, with its band.

    `cost_share`: what that costs against all rows strong.
    """

    share: float
    kept: float | None
    low: float | None
    high: float | None
    cost_share: float | None


class TestedShare(msgspec.Struct, frozen=True, kw_only=True):
    """A share of the grid, in the order of the test; `passes` None: not tested, as one before it failed."""

    share: float
    threshold: float
    kept: float | None
    passes: bool | None


class RouterRank(msgspec.Struct, frozen=True, kw_only=True):
    """How well a router's scores rank the pilot's rows: APGR with its 95 % interval (see quality/curves)."""

    apgr: float | None
    apgr_ci: tuple[float, float] | None


class WatchGroup(msgspec.Struct, frozen=True, kw_only=True):
    """What was kept on the watched rows of one route, or of one value of a column."""

    name: str
    rows: int
    kept: float | None
    low: float | None
    high: float | None


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of a night that both sides were asked; `high` is one-sided, known from 30 rows on."""

    rows: int
    kept: float | None
    low: float | None
    high: float | None
    by_route: list[WatchGroup] = []


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """A pilot's outcome. `target` None: it only measured. `kept`, `low`, `high` are of the chosen threshold.

    `router`: whose scores route, "job", "own" (fitted on the pilot) or "length"; `rows` were graded, of `asked`.
    `verdict` None: the pilot is not at its end. `rows_needed`: for 95 % strong, None where not in sight.
    `cost_share`: of the whole job at the chosen threshold, the pilot's cost included, against all rows strong.
    `strong_model` and `weak_model` are the models asked for. The curve of the router in use has the shares of
    `tested`, in their order. `order_agreement`: how often a pairwise judge said the same in both orders.
    `left_out` rows by reason.
    """

    target: float | None
    confidence: float
    verdict: Verdict | None = None
    kept: float | None = None
    low: float | None = None
    high: float | None = None
    strong_share: float | None = None
    threshold: float | None = None
    cost_share: float | None = None
    rows_needed: int | None = None
    router: str = "job"
    rows: int = 0
    asked: int = 0
    seed: int = 0
    pilot_cost_usd: float | None = None
    judge: str
    judge_model: str | None = None
    judge_digest: str | None = None
    order_agreement: float | None = None
    left_out: dict[str, int] = {}
    strong_model: str | None = None
    weak_model: str | None = None
    strong_grade: float | None = None
    weak_grade: float | None = None
    tested: list[TestedShare] = []
    curves: dict[str, list[CurvePoint]] = {}
    routers: dict[str, RouterRank] = {}
    reused: str | None = None
    why_new: str | None = None
    watch: Watch | None = None
    broken: bool = False

    @property
    def brief(self) -> str:
        """The verdict in a few words."""
        if self.verdict is None or self.kept is None or self.target is None:
            return f"{self.rows:,} rows graded"
        target, sure = f"{100 * self.target:.10g} %", f"with {100 * self.confidence:.10g} % confidence"
        if self.verdict == "all strong":
            return f"nothing below 100 % strong is shown to keep {target} of the strong side's quality {sure}"
        share = f"{100 * (self.strong_share or 0.0):.1f} % strong"
        kept = f"{100 * self.kept:.1f} % (at least {target} {sure})"
        return f"{self.verdict}: {share} keeps {kept} of the strong side's quality"

    @property
    def broken_words(self) -> str | None:
        """That the watched rows break the target, and what to do about it; None where they do not."""
        if not self.broken:
            return None
        aim = "" if self.target is None else f" of {100 * self.target:.10g} %"
        if self.watch is None or self.watch.high is None:
            return f"the quality target{aim} is broken; {_BROKEN}"
        kept = f"at most {100 * self.watch.high:.1f} % of the strong side's quality is kept"
        return f"the quality target{aim} is broken: on {self.watch.rows:,} watched rows {kept}; {_BROKEN}"


def read_quality(run: Path) -> Quality | None:
    """What the pilot of the directory `run` found; None where there was none, or it is not at its end."""
    path = RunLayout(run).pilot_quality
    if not path.exists():
        return None
    with decoding(path, "remove it, and run again"):
        return msgspec.json.decode(path.read_bytes(), type=Quality)
