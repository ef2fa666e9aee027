"""Runs at work, as their counters stand: no run is behind them."""

from __future__ import annotations

from batchroute.run.progress import LaneProgress, Money, Progress
from batchroute.types import LaneState, PilotProgress

AWAY = LaneState("away", "connection refused (127.0.0.1:7999)", next_try_s=8.0, gives_up_s=1800.0)


def at_work(**lanes: LaneState) -> Progress:
    """Half done, each lane in its state; where none is given it sends."""
    strong = LaneProgress(
        rows=2_000,
        ok=790,
        refused=3,
        failed=7,
        tokens=500_000,
        in_flight=lambda: 64,
        state=lambda: lanes.get("strong", LaneState("sending")),
        last_error="HTTP 500: the server is overloaded, try again later",
        tokens_per_minute=200_000,
    )
    weak = LaneProgress(
        rows=18_000,
        ok=9_200,
        tokens=3_000_000,
        in_flight=lambda: 128,
        state=lambda: lanes.get("weak", LaneState("sending")),
        requests_per_minute=3_000,
    )
    progress = Progress(
        rows=25_000,
        done_before=5_000,
        max_cost_usd=100.0,
        money=lambda: Money(spent_usd=9.31, unconfirmed_usd=0.2, all_strong_usd=29.41),
        lanes={"strong": strong, "weak": weak},
    )
    progress.started_s -= 761.0
    progress.errors.update({"timeout": 12, "http_500": 3})
    return progress


def at_its_pilot(pilot: PilotProgress) -> Progress:
    """Before any row has ended: both sides are asked, and a judge is at work."""
    judge = LaneProgress(rows=800, ok=57, tokens=20_000, in_flight=lambda: 8, is_beside=True)
    lanes = {name: LaneProgress(in_flight=lambda: 64) for name in ("strong", "weak")}
    return Progress(
        rows=50_000,
        money=lambda: Money(spent_usd=0.41),
        pilot=lambda: pilot,
        lanes={**lanes, "judge": judge},
    )
