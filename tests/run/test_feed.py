from __future__ import annotations

import asyncio
import gzip
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from answers import result
from batchroute.errors import InputFault
from batchroute.input.split import ChunkLimits
from batchroute.job.endpoint import Price
from batchroute.job.prices import find_pricing
from batchroute.job.spec import Endpoints, RouterSpec
from batchroute.run.feed import Feed
from batchroute.run.scoring import Scoring
from batchroute.score.router import load_scorer
from batchroute.send.dialects.chat import ChatBody
from batchroute.store.columns import ResultColumns
from batchroute.store.layout import RunLayout
from batchroute.store.rows import RunStore
from batchroute.store.scores import Scores
from batchroute.types import SIDES, Prompt
from inputs import lines, parquet, source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from batchroute.input.open import Source
    from batchroute.send.request import Request
    from batchroute.types import Side


def endpoints(strong: Mapping[str, Any] | None = None, weak: Mapping[str, Any] | None = None) -> Endpoints:
    url = {"base_url": "http://127.0.0.1:9/v1"}
    return Endpoints.model_validate(
        {"strong": {"model": "big", **url, **(strong or {})}, "weak": {"model": "small", **url, **(weak or {})}}
    )


PLAIN = endpoints()


def scored(of: Source, folder: Path, limits: Sequence[int | None] = (None,)) -> Scores:
    """Scores of the input, in parts that end at these rows."""
    folder.mkdir(exist_ok=True)
    scores = Scores(folder)
    for limit in limits:
        scores = Scores(folder)
        asyncio.run(Scoring(of, scores, limit, lambda: load_scorer(RouterSpec(use="random"))).run())
    return scores


def store_in(folder: Path, of: Source) -> RunStore:
    folder.mkdir(exist_ok=True)
    return RunStore(RunLayout(folder), ResultColumns(of.keep_schema), mode=0o700)


def asked(
    side: Side, of: Source, scores: Scores, store: RunStore, threshold: float = 0.5, **more: Any
) -> list[Request]:
    feed = Feed(side, of, more.pop("endpoints", PLAIN), store, **more)
    return [request for part in scores.parts for chunk in feed.requests(part, threshold) for request in chunk]


def write_lines(path: Path, prompts: list[str | None]) -> Path:
    return lines(path.with_suffix(".jsonl"), *(b"" if text is None else {"prompt": text} for text in prompts))


def write_gzip(path: Path, prompts: list[str | None]) -> Path:
    plain = write_lines(path, prompts)
    packed = path.with_suffix(".jsonl.gz")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    return packed


def write_parquet(path: Path, prompts: list[str | None]) -> Path:
    return parquet(path.with_suffix(".parquet"), {"prompt": prompts}, row_group_size=7)


FORMATS: dict[str, Callable[[Path, list[str | None]], Path]] = {
    "jsonl": write_lines,
    "gzip": write_gzip,
    "parquet": write_parquet,
}
FILES = st.lists(
    st.tuples(
        st.sampled_from(sorted(FORMATS)), st.lists(st.none() | st.text("ab", max_size=5), min_size=1, max_size=25)
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=50)
@given(
    files=FILES,
    chunk_rows=st.sampled_from([1, 3, 8, 4096]),
    limits=st.lists(st.integers(1, 40), max_size=3),
    done=st.sets(st.integers(0, 60)),
    threshold=st.floats(0, 1),
)
def test_both_lanes_together_ask_every_row_that_is_not_done_once_in_input_order(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[tuple[str, list[str | None]]],
    chunk_rows: int,
    limits: list[int],
    done: set[int],
    threshold: float,
) -> None:
    folder = tmp_path_factory.mktemp("feed")
    paths = [FORMATS[kind](folder / f"{number}", prompts) for number, (kind, prompts) in enumerate(files)]
    of = source(*paths, limits=ChunkLimits(rows=chunk_rows))
    scores = scored(of, folder / "scores", [*sorted(limits), None])
    rows = [(chunk.file, row) for chunk in of.chunks() for row in chunk.rows.tolist()]
    store = store_in(folder / "run", of)
    for file, row in rows:
        if row in done:
            store.done.add(file, np.array([row]))

    requests = {side: asked(side, of, scores, store, threshold) for side in SIDES}
    places = {side: [(r.prompt.file, r.prompt.row) for r in requests[side]] for side in SIDES}
    wanted = [place for place in rows if place[1] not in done]
    assert sorted([*places["strong"], *places["weak"]]) == sorted(wanted)
    for side in SIDES:
        assert places[side] == [place for place in wanted if place in set(places[side])]
        for request in requests[side]:
            assert (request.score is None) == (request.prompt.refusal is not None)
            if request.score is not None:
                assert (request.score >= threshold) == (side == "strong")


def test_each_request_carries_its_own_rows_prompt(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", *({"prompt": f"question {row}"} for row in range(200)))
    of = source(path, limits=ChunkLimits(rows=9))
    store = store_in(tmp_path / "run", of)
    requests = asked("strong", of, scored(of, tmp_path / "scores", [5, 77, None]), store)
    assert 0 < len(requests) < 200
    for request in requests:
        assert json.loads(request.body) == {
            "model": "big",
            "messages": [{"role": "user", "content": f"question {request.prompt.row}"}],
            "stream": False,
        }


@pytest.mark.parametrize("limit", [0, 1, 50, 120])
def test_a_limit_below_what_is_scored_asks_only_the_first_rows(tmp_path: Path, limit: int) -> None:
    of = source(write_lines(tmp_path / "a", ["x"] * 120), limits=ChunkLimits(rows=10))
    scores, store = scored(of, tmp_path / "scores", [33, 64, None]), store_in(tmp_path / "run", of)
    rows = [r.prompt.row for side in SIDES for r in asked(side, of, scores, store, limit=limit)]
    assert sorted(rows) == list(range(limit))


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_an_input_that_became_shorter_is_noticed(tmp_path: Path, kind: str) -> None:
    path = FORMATS[kind](tmp_path / "a", ["x"] * 40)
    scores = scored(source(path), tmp_path / "scores")
    of = source(FORMATS[kind](tmp_path / "a", ["x"] * 30))
    with pytest.raises(InputFault, match=r"when it was scored|since it was scored"):
        asked("weak", of, scores, store_in(tmp_path / "run", of), 2.0)


def test_an_input_whose_rows_moved_is_noticed(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a", ["x"] * 10)
    scores = scored(source(path), tmp_path / "scores")
    of = source(write_lines(tmp_path / "a", ["x", None, *["x"] * 9]))
    with pytest.raises(InputFault, match=r"a\.jsonl: has changed since it was scored"):
        asked("weak", of, scores, store_in(tmp_path / "run", of), 2.0)


def test_attempts_of_earlier_runs_come_along(tmp_path: Path) -> None:
    of = source(write_lines(tmp_path / "a", ["x"] * 3))
    store = store_in(tmp_path / "run", of)
    store.record(result(1, "failed", file="a.jsonl", attempts=4))
    store.record(result(2, "open", file="a.jsonl", attempts=2))
    requests = asked("weak", of, scored(of, tmp_path / "scores"), store, 2.0)
    assert [request.attempts for request in requests] == [0, 4, 2]


def test_rows_too_long_or_refused_come_with_their_reason_and_no_body(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"prompt": "x" * 400}, b"{torn", {"prompt": "short"})
    of = source(path)
    store, scores = store_in(tmp_path / "run", of), scored(of, tmp_path / "scores")
    requests = asked("weak", of, scores, store, 2.0, endpoints=endpoints(weak={"max_input_tokens": 50}))
    reasons = [request.prompt.refusal for request in requests]
    assert reasons[0] == "about 100 input tokens, more than endpoints.weak.max_input_tokens"
    assert str(reasons[1]).startswith("line 2: ")
    assert reasons[2] is None
    assert [bool(request.body) for request in requests] == [False, False, True]
    assert [request.score is None for request in requests] == [False, True, False]


PRICING = find_pricing("small", Price.model_validate({"input": 2, "output": 10}), None)


def test_under_a_budget_a_row_brings_the_most_it_can_cost_or_is_refused(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"prompt": "é" * 50, "params": {"max_tokens": 7}}, {"prompt": "unbounded"})
    of = source(path, params="params")
    store, scores = store_in(tmp_path / "run", of), scored(of, tmp_path / "scores")
    bounded, unbounded = asked("weak", of, scores, store, 2.0, pricing=PRICING)
    assert bounded.most_usd * 10**6 == 2 * len(bounded.body) + 10 * 7
    assert bounded.tokens == -(-50 // 4) + 7
    assert "nothing bounds its output" in str(unbounded.prompt.refusal)
    assert (bounded.prompt.refusal, unbounded.prompt.refusal_type) == (None, "unbounded")
    assert all(request.most_usd == 0 for request in asked("weak", of, scores, store, 2.0))


ASK = Prompt("a", 0, None, b'[{"role":"user","content":"hi"}]')


@pytest.mark.parametrize(
    ("params", "row_params", "expected", "longest"),
    [
        ({}, None, {}, 0),
        ({"temperature": 0}, None, {"temperature": 0}, 0),
        ({"max_tokens": 5}, {}, {"max_tokens": 5}, 5),
        ({"max_tokens": 5, "seed": 1}, {"max_tokens": 9}, {"max_tokens": 9, "seed": 1}, 9),
        ({"max_tokens": 5}, {"n": 3}, {"max_tokens": 5, "n": 3}, 15),
        ({"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"y": 2}}, 0),
        ({"stop": None}, {"seed": 2}, {"stop": None, "seed": 2}, 0),
    ],
)
def test_a_body_is_the_endpoints_params_and_the_rows_over_them(
    params: dict[str, Any], row_params: dict[str, Any] | None, expected: dict[str, Any], longest: int
) -> None:
    prompt = Prompt(ASK.file, ASK.row, ASK.id, ASK.messages, row_params)
    body, most, _, _ = ChatBody("small", params)(prompt)
    messages = [{"role": "user", "content": "hi"}]
    assert json.loads(body) == {**expected, "model": "small", "messages": messages, "stream": False}
    assert most == longest


def test_messages_go_out_byte_for_byte() -> None:
    messages = '[{"role": "user", "content": "\\u00e9 \U0001f600  1.0e2"}]'.encode()
    for params in (None, {"seed": 1}):
        body = ChatBody("small", {})(Prompt("a", 0, None, messages, params)).sent
        assert messages in body
