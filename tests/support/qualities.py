"""What pilots found, made by hand: one of each verdict, with curves that fit it; no run is behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from batchroute.report.quality import CurvePoint, Quality, RouterRank, TestedShare, Watch, WatchGroup

if TYPE_CHECKING:
    from collections.abc import Sequence

SHARES = [percent / 100 for percent in range(100, -1, -5)]
WEAK_COST = 0.1  # of a strong answer's


def curve(all_weak: float, bend: float, *, priced: bool = True, band: float = 0.04) -> list[CurvePoint]:
    """From all strong down to what the weak side keeps alone; a higher `bend` keeps more in between."""
    points = []
    for share in SHARES:
        kept = all_weak + (1 - all_weak) * share**bend
        reach = band * (1 - share) ** 0.5
        cost = share + (1 - share) * WEAK_COST if priced else None
        points.append(CurvePoint(share=share, kept=kept, low=kept - reach, high=kept + reach, cost_share=cost))
    return points


def in_sequence(points: Sequence[CurvePoint], last: float, all_weak: bool | None = None) -> list[TestedShare]:
    """In sequence: the shares down to the `last` pass, the next one does not; all weak is tested by itself."""
    passes = [True if point.share >= last else None for point in points]
    if None in passes:
        passes[passes.index(None)] = False
    passes[-1] = all_weak or passes[-1]
    return [
        TestedShare(share=point.share, threshold=1 - point.share, kept=point.kept, passes=each)
        for point, each in zip(points, passes, strict=True)
    ]


def quality_of(**changes: Any) -> Quality:
    """A pilot of 400 rows that shows 35 % strong to keep 95 %; `changes` make another of it."""
    points = curve(0.9, 0.5)
    chosen = points[13]
    given = {
        "target": 0.95,
        "confidence": 0.9,
        "verdict": "route",
        "kept": 0.9612,
        "low": 0.938,
        "high": 0.984,
        "strong_share": chosen.share,
        "threshold": 0.65,
        "cost_share": 0.38,
        "rows_needed": 130,
        "rows": 384,
        "asked": 400,
        "pilot_cost_usd": 1.2,
        "judge": "reference",
        "left_out": {"no_answer": 12, "judge_unreadable": 4},
        "strong_model": "gpt-6.1-sol",
        "weak_model": "gpt-6-luna",
        "strong_grade": 0.871,
        "weak_grade": 0.7839,
        "tested": in_sequence(points, chosen.share),
        "curves": {"job": points, "length": curve(0.9, 0.8), "random": curve(0.9, 1.0)},
        "routers": {
            "job": RouterRank(apgr=0.667, apgr_ci=(0.601, 0.731)),
            "own": RouterRank(apgr=0.641, apgr_ci=(0.57, 0.712)),
            "length": RouterRank(apgr=0.56, apgr_ci=(0.49, 0.63)),
            "random": RouterRank(apgr=0.5, apgr_ci=None),
        },
    }
    return msgspec.convert({**given, **changes}, Quality, from_attributes=True)


ROUTE = quality_of()
ALL_WEAK = quality_of(
    tested=in_sequence(curve(0.972, 1.0), 0.4, True),
    curves={"job": curve(0.972, 1.0)},
    verdict="all weak",
    kept=0.972,
    low=0.951,
    high=0.993,
    strong_share=0.0,
    threshold=1.0000000000000002,
    cost_share=0.12,
)
ALL_STRONG = quality_of(
    tested=in_sequence(curve(0.7, 1.0), 1.0),
    curves={"job": curve(0.7, 1.0), "random": curve(0.7, 1.0)},
    verdict="all strong",
    kept=1.0,
    low=1.0,
    high=1.0,
    strong_share=1.0,
    threshold=0.0,
    cost_share=1.021,
    rows_needed=1600,
)
WEAK_IS_BETTER = quality_of(
    tested=in_sequence(curve(1.031, 1.0), 0.0),
    curves={"job": curve(1.031, 1.0)},
    verdict="weak is better",
    kept=1.031,
    low=1.002,
    high=1.06,
    strong_share=0.0,
    threshold=1.0000000000000002,
    cost_share=0.12,
)
MEASURED = quality_of(target=None, verdict=None, tested=[], rows_needed=None)
UNFINISHED = quality_of(verdict=None, kept=None, low=None, high=None, tested=[], curves={}, routers={}, rows=0)
UNPRICED = quality_of(
    cost_share=None, pilot_cost_usd=None, curves={"job": curve(0.9, 0.5, priced=False), "random": curve(0.9, 1.0)}
)
NOTHING_GRADED = quality_of(
    verdict="all strong",
    kept=None,
    low=None,
    high=None,
    strong_share=None,
    threshold=None,
    cost_share=None,
    rows_needed=None,
    rows=0,
    strong_grade=None,
    weak_grade=None,
    tested=[],
    curves={},
    routers={},
    left_out={"no_answer": 400},
)
STRONG_NEVER_RIGHT = quality_of(
    verdict="all weak",
    kept=None,
    low=None,
    high=None,
    strong_share=0.0,
    strong_grade=0.0,
    weak_grade=0.0,
    curves={"job": [CurvePoint(share=each, kept=None, low=None, high=None, cost_share=each) for each in SHARES]},
    tested=[TestedShare(share=share, threshold=1 - share, kept=None, passes=True) for share in SHARES],
)
FLAT = [CurvePoint(share=share, kept=1.0, low=0.0, high=None, cost_share=share) for share in SHARES]
ONE_ROW = quality_of(
    verdict="all strong",
    kept=1.0,
    low=1.0,
    high=1.0,
    strong_share=1.0,
    rows=1,
    asked=1,
    left_out={},
    rows_needed=None,
    tested=in_sequence(FLAT, 1.0),
    curves={"job": FLAT},
)
TIED_POINTS = [CurvePoint(share=1.0, kept=1.0, low=1.0, high=1.0, cost_share=1.0) for _ in SHARES[:-1]]
TIED = quality_of(
    curves={"job": [*TIED_POINTS, CurvePoint(share=0.0, kept=0.9, low=0.8, high=1.0, cost_share=0.1)]},
    tested=in_sequence([*TIED_POINTS, curve(0.9, 1.0)[-1]], 1.0),
    strong_share=1.0,
    verdict="all strong",
)
WATCH = Watch(
    rows=412,
    kept=0.921,
    low=None,
    high=0.942,
    by_route=[
        WatchGroup(name="strong", rows=140, kept=1.0, low=1.0, high=1.0),
        WatchGroup(name="weak", rows=272, kept=0.883, low=0.85, high=0.915),
    ],
)
BROKEN = quality_of(watch=WATCH, broken=True)
# By what each is, as a test names it.
EACH = {
    "route": ROUTE,
    "all weak": ALL_WEAK,
    "all strong": ALL_STRONG,
    "weak is better": WEAK_IS_BETTER,
    "measured": MEASURED,
    "unfinished": UNFINISHED,
    "unpriced": UNPRICED,
    "nothing graded": NOTHING_GRADED,
    "strong never right": STRONG_NEVER_RIGHT,
    "one row": ONE_ROW,
    "broken": BROKEN,
    "ties": TIED,
    "own router": quality_of(router="own", curves={"own": curve(0.9, 0.4), "random": curve(0.9, 1.0)}),
}
