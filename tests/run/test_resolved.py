from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.run.resolved import moved_rows

SCORES = st.floats(0, 1)


def rows(*entries: tuple[float | None, str | None, str | None, str, float | None]) -> pl.LazyFrame:
    columns = {"score": pl.Float64, "route": pl.String, "route_reason": pl.String}
    schema = {**columns, "status": pl.String, "cost_usd": pl.Float64}
    return pl.LazyFrame(entries, schema=schema, orient="row")


@pytest.mark.parametrize(
    ("entry", "moves"),
    [
        ((0.5, "strong", "score", "ok", 0.1), 0),
        ((0.4, "strong", "score", "ok", 0.1), 1),
        ((0.4, "strong", "score", "ok", None), 1),
        ((0.4, "weak", "score", "ok", 0.1), 0),
        ((0.5, "weak", "score", "ok", 0.1), 1),
        ((0.5, "weak", "score", "refused", None), 1),
        ((0.5, "weak", "score", "failed", None), 0),
        ((0.5, "weak", "score", "failed", 0.0), 0),
        ((0.5, "weak", "score", "failed", 0.1), 1),
        ((0.5, "weak", "score", "open", 0.1), 1),
        ((0.5, "weak", "budget", "ok", 0.1), 0),
        ((0.5, "weak", "override", "ok", 0.1), 0),
        ((0.5, "weak", "too_long", "ok", 0.1), 0),
        ((None, "weak", "score", "refused", None), 0),
        ((None, None, None, "refused", None), 0),
    ],
)
def test_which_rows_would_be_on_another_side_than_they_were_paid_for(
    entry: tuple[float | None, str | None, str | None, str, float | None], moves: int
) -> None:
    assert moved_rows(rows(entry), 0.5) == moves


@given(st.lists(SCORES, min_size=1), SCORES, SCORES)
def test_between_two_thresholds_exactly_the_rows_in_between_move(
    scores: list[float], old: float, new: float
) -> None:
    answered = [(score, "strong" if score >= old else "weak", "score", "ok", 0.1) for score in scores]
    low, high = sorted((old, new))
    assert moved_rows(rows(*answered), new) == sum(low <= score < high for score in scores)
