"""What a lane does, as people read it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from batchroute.report.lanes import lane_words
from batchroute.types import LaneState

NOW = datetime(2026, 11, 28, 7, 40, tzinfo=UTC)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (LaneState(), "sending"),
        (LaneState("rate_limited", next_try_s=4.2), "paused by 429, 4 s"),
        (LaneState("rate_limited", next_try_s=0.01), "paused by 429, 1 s"),
        (LaneState("paced"), "waits for its rate"),
        (
            LaneState("away", "connection refused (127.0.0.1:7999)", next_try_s=8, gives_up_s=3660),
            "away: connection refused (127.0.0.1:7999), next try in 8 s, gives up at 08:41",
        ),
        (LaneState("no_money"), "no money for the next row"),
        (LaneState("done"), "done"),
        (LaneState("stopped", "key rejected"), "stopped: key rejected"),
        (
            LaneState("sending", away=("gpu1:8000", "gpu2:8000"), addresses=3),
            "sending, 2 of 3 addresses away (gpu1:8000, gpu2:8000)",
        ),
        (
            LaneState("rate_limited", next_try_s=4.0, away=("gpu1:8000",), addresses=2),
            "paused by 429, 4 s, 1 of 2 addresses away (gpu1:8000)",
        ),
        (
            LaneState("away", "HTTP 500", 8.0, away=tuple(f"gpu{number}:1" for number in range(5)), addresses=5),
            "away: 5 of 5 addresses away (gpu0:1, gpu1:1, gpu2:1 and 2 more), HTTP 500, next try in 8 s",
        ),
        (LaneState("sending", addresses=3), "sending"),
    ],
)
def test_each_state_has_its_words(state: LaneState, words: str) -> None:
    assert lane_words(state, NOW) == words
