from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.job.spec import Endpoints
from batchroute.route.sides import Routes, route, route_one
from batchroute.send.tokens import estimate_tokens
from batchroute.store.scores import ScoredRows

if TYPE_CHECKING:
    from batchroute.types import Side

THRESHOLD = 0.5
LONGEST = 10  # input tokens of a side that has a limit


def endpoints(strong: dict[str, Any] | None = None, weak: dict[str, Any] | None = None) -> Endpoints:
    plain = {"model": "m", "base_url": "http://127.0.0.1:9/v1"}
    return Endpoints.model_validate({"strong": {**plain, **(strong or {})}, "weak": {**plain, **(weak or {})}})


def rows_of(
    scores: list[float], forced: list[str | None] | None = None, tokens: list[int] | None = None
) -> ScoredRows:
    count = len(scores)
    return ScoredRows(
        files=["a"],
        file=np.zeros(count, np.int32),
        row=np.arange(count),
        score=np.array(scores, np.float64),
        forced=np.array(forced or [None] * count, dtype=object),
        chars=4 * np.array(tokens or [1] * count, np.int64),
    )


NAN = float("nan")
FULL = {"max_input_tokens": LONGEST}
OTHER = {"max_input_tokens": LONGEST, "on_too_long": "other"}


@pytest.mark.parametrize(
    ("score", "forced", "tokens", "strong", "weak", "side", "reason", "fits"),
    [
        (0.50, None, 1, {}, {}, "strong", "score", True),
        (0.49999999999999994, None, 1, {}, {}, "weak", "score", True),
        (1.00, "weak", 1, {}, {}, "weak", "override", True),
        (0.00, "strong", 1, {}, {}, "strong", "override", True),
        (NAN, None, 1, {}, {}, "weak", "score", True),  # a refused row is recorded there
        (NAN, "strong", 1, {}, {}, "strong", "override", True),
        (0.90, None, LONGEST, FULL, {}, "strong", "score", True),
        (0.90, None, LONGEST + 1, FULL, {}, "strong", "score", False),
        (0.10, None, LONGEST + 1, {}, FULL, "weak", "score", False),
        (0.10, None, LONGEST + 1, FULL, {}, "weak", "score", True),  # the other side's limit does not matter
        (0.90, None, LONGEST + 1, OTHER, {}, "weak", "too_long", True),
        (0.10, None, LONGEST + 1, {}, OTHER, "strong", "too_long", True),
        (0.90, "strong", LONGEST + 1, OTHER, {}, "weak", "too_long", True),
        (0.90, None, LONGEST + 1, OTHER, OTHER, "strong", "score", False),  # fits nowhere
        (0.10, None, LONGEST + 1, OTHER, OTHER, "weak", "score", False),
        (0.10, "weak", LONGEST + 1, FULL, FULL, "weak", "override", False),
    ],
)
def test_a_row_goes_where_the_table_says(
    score: float,
    forced: str | None,
    tokens: int,
    strong: dict[str, Any],
    weak: dict[str, Any],
    side: str,
    reason: str,
    fits: bool,
) -> None:
    routes = route(rows_of([score], [forced], [tokens]), THRESHOLD, endpoints(strong, weak))
    assert bool(routes.on("strong")[0]) == (side == "strong")
    assert routes.reasons(np.zeros(1, np.int64))[0] == reason
    assert bool(routes.too_long[0]) == (not fits)


SCORES = st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0])), max_size=30)
SIDE = st.sampled_from(["strong", "weak", None])
LIMIT = st.sampled_from([{}, FULL, OTHER])


@given(SCORES, st.floats(0, 1))
def test_without_overrides_and_limits_a_row_is_strong_if_and_only_if_its_score_reaches_the_threshold(
    scores: list[float], threshold: float
) -> None:
    routes = route(rows_of(scores), threshold, endpoints())
    assert routes.on("strong").tolist() == [score >= threshold for score in scores]
    assert not routes.too_long.any()


@given(SCORES, st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_higher_threshold_never_sends_more_rows_strong(
    scores: list[float], between: tuple[float, float]
) -> None:
    low, high = sorted(between)
    at_low, at_high = (route(rows_of(scores), threshold, endpoints()).on("strong") for threshold in (low, high))
    assert not (at_high & ~at_low).any()


@given(
    st.lists(st.tuples(st.floats(0, 1), SIDE, st.integers(0, 2 * LONGEST)), max_size=20),
    st.floats(0, 1),
    LIMIT,
    LIMIT,
)
def test_every_row_has_one_side_and_no_row_is_sent_where_it_does_not_fit(
    rows: list[tuple[float, str | None, int]], threshold: float, strong: dict[str, Any], weak: dict[str, Any]
) -> None:
    scores, forced, tokens = ([row[n] for row in rows] for n in range(3))
    routes = route(rows_of(scores, forced, tokens), threshold, endpoints(strong, weak))  # type: ignore[arg-type]
    assert (routes.on("strong") ^ routes.on("weak")).all()
    reasons = routes.reasons(np.arange(len(rows)))
    for place, (score, demanded, size) in enumerate(rows):
        own = demanded or ("strong" if score >= threshold else "weak")
        taken = "strong" if routes.on("strong")[place] else "weak"
        fits = not (strong if taken == "strong" else weak) or size <= LONGEST
        assert fits != bool(routes.too_long[place])
        assert (taken != own) == bool(routes.moved[place])
        assert reasons[place] == ("too_long" if taken != own else "override" if demanded else "score")


def test_a_side_is_read_off_the_columns() -> None:
    no = np.zeros(2, np.bool_)
    routes = Routes(np.array([0, 1], np.int8), no, no, no)
    assert (routes.on("strong").tolist(), routes.on("weak").tolist()) == ([True, False], [False, True])


@given(
    st.none() | st.floats(0, 1) | st.sampled_from([0.0, 0.5, 1.0]),
    SIDE,
    st.integers(0, 8 * LONGEST),
    st.floats(0, 1) | st.sampled_from([0.0, 0.5, 1.0]),
    LIMIT,
    LIMIT,
)
def test_a_request_goes_where_the_same_row_of_a_file_goes(
    score: float | None,
    forced: Side | None,
    chars: int,
    threshold: float,
    strong: dict[str, Any],
    weak: dict[str, Any],
) -> None:
    both = endpoints(strong, weak)
    row = replace(rows_of([NAN if score is None else score], [forced]), chars=np.array([chars]))
    routes = route(row, threshold, both)
    found = route_one(score, forced, chars, threshold, both)
    assert routes.on(found.endpoint).tolist() == [True]
    assert routes.reasons(np.zeros(1, np.int64)) == [found.reason]
    assert routes.too_long.tolist() == [found.too_long]


@pytest.mark.parametrize(("chars", "tokens"), [(0, 0), (1, 1), (4, 1), (5, 2), (4_000_001, 1_000_001)])
def test_tokens_are_estimated_upwards(chars: int, tokens: int) -> None:
    assert estimate_tokens(np.array([chars])).tolist() == [tokens]
    assert estimate_tokens(chars) == tokens
