"""What a report says of the workers of a run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from batchroute.report.figures import EngineFigures, Report
from batchroute.show.words import engine_words


def figures(workers: int, lost: int, paid_twice: int) -> EngineFigures:
    return EngineFigures(
        use="processes",
        workers=workers,
        workers_lost=lost,
        shards=17,
        shards_done=16,
        leases_per_s=1.0,
        driver_cpu_s=1.0,
        paid_twice_bound=paid_twice,
    )


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        (None, None),
        (figures(1, 0, 0), "1 worker (processes), 16 of 17 shards done"),
        (figures(3, 0, 0), "3 workers (processes), 16 of 17 shards done"),
        (
            figures(3, 2, 1),
            (
                "3 workers (processes), 16 of 17 shards done; "
                "2 lost on the way, with at most 1 row in flight that may be billed twice"
            ),
        ),
    ],
)
def test_a_run_by_workers_says_how_many_and_what_was_lost(engine: EngineFigures | None, said: str | None) -> None:
    assert engine_words(cast("Report", SimpleNamespace(engine=engine))) == said
