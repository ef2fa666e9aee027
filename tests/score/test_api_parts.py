"""What scoring by way of an embeddings API is made of, part by part."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.errors import Stopped, UsageFault
from batchroute.job.spec import EmbedderSpec
from batchroute.score.api import paid
from batchroute.score.api.cache import VectorCache
from batchroute.score.api.fetch import Fetcher, NoVector
from batchroute.score.api.paid import PaidScores
from batchroute.score.api.requests import MAX_TEXTS, MAX_TOKENS, RequestBuilder, read_vectors, texts_per_request
from batchroute.score.rater import CHARS_IN_FLIGHT, Rated, bare_questions, rated_chunks
from batchroute.send.allowance import EndpointLimits, OwnLimits
from batchroute.send.classify import Answer
from batchroute.send.retry import RetryPolicy
from batchroute.store.embeddings import PaidRecord, read_bill
from batchroute.store.journal import read_records
from batchroute.store.layout import RunLayout
from batchroute.types import Completion, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from batchroute.types import Questions, Vectors

SPEC = EmbedderSpec(use="openai", base_url="http://127.0.0.1:9/v1")


# requests

texts_of_any_length = st.text(min_size=1, max_size=30).flatmap(lambda t: st.sampled_from([t, t * 400, t * 3000]))


@settings(max_examples=50)
@given(
    st.lists(
        st.text(min_size=1, max_size=30).flatmap(lambda t: st.sampled_from([t, t * 400, t * 3000])), max_size=60
    )
)
def test_requests_hold_all_texts_once_in_order_and_within_the_limits(texts: list[str]) -> None:
    groups = list(RequestBuilder(SPEC, None).group(texts))
    alone = [group for group in groups if len(group) == 1]
    together = [group for group in groups if len(group) > 1]
    assert sorted(text.whole for group in groups for text in group) == sorted(texts)
    for group in together:
        assert sum(text.most_tokens for text in group) <= MAX_TOKENS
        assert all(text.sent == text.whole and text.most_tokens <= 8191 for text in group)
    assert all(len(text.sent) <= 8191 * 4 for (text,) in alone)


@pytest.mark.parametrize(
    ("limits", "texts"),
    [
        ({}, 256),
        ({"max_concurrency": 1}, MAX_TEXTS),
        ({"max_concurrency": 1000}, 16),
        ({"requests_per_minute": 60}, MAX_TEXTS),
        ({"requests_per_minute": 3000}, 256),
    ],
)
def test_the_fewer_requests_can_be_in_flight_the_more_each_holds(limits: dict[str, Any], texts: int) -> None:
    assert texts_per_request(EmbedderSpec(use="openai", **limits)) == texts


def test_a_body_is_what_the_api_reads() -> None:
    spec = EmbedderSpec(use="openai", dimensions=512)
    builder = RequestBuilder(spec, None)
    (group,) = builder.group(["one", "two \ud83d"])
    request = builder.build(group, as_base64=True)
    assert json.loads(request.body) == {
        "model": "text-embedding-3-small",
        "dimensions": 512,
        "encoding_format": "base64",
        "input": ["one", "two ?"],
    }
    assert "encoding_format" not in json.loads(builder.build(group, as_base64=False).body)


# answer


def packed(*numbers: float) -> str:
    return base64.b64encode(np.array(numbers, "<f4").tobytes()).decode()


def test_vectors_stand_in_the_order_of_their_index() -> None:
    data = [{"index": 1, "embedding": [3.0, 4.0]}, {"index": 0, "embedding": [1.0, 2.0]}]
    answer = read_vectors({"data": data, "usage": {"prompt_tokens": 7, "total_tokens": 7}})
    assert answer.verdict == "ok"
    assert answer.vectors.tolist() == [[1, 2], [3, 4]]
    assert answer.usage == Usage(prompt_tokens=7)


def test_packed_vectors_are_the_same_as_numbers() -> None:
    plain = read_vectors({"data": [{"embedding": [0.1, -2.5]}, {"embedding": [1e-7, 3.0]}]})
    same = read_vectors({"data": [{"embedding": packed(0.1, -2.5)}, {"embedding": packed(1e-7, 3.0)}]})
    assert plain.vectors.dtype == same.vectors.dtype == np.float32
    assert plain.vectors.tolist() == same.vectors.tolist()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "no vectors"),
        ([], "no vectors"),
        ([1], "no vectors"),
        ([{"embedding": None}], "different lengths"),
        ([{"embedding": [1.0]}, {"embedding": [1.0, 2.0]}], "different lengths"),
        ([{"embedding": packed(1)}, {"embedding": packed(1, 2)}], "different lengths"),
        ([{"embedding": packed(1)}, {"embedding": [1.0]}], "not base64"),
        ([{"embedding": "!!!!"}], "not base64"),
        ([{"embedding": "QUE="}], "different lengths"),
        ([{"embedding": []}], "different lengths"),
        ([{"embedding": [math.nan]}], "NaN"),
        ([{"embedding": [1e300]}], "infinite"),
        ([{"embedding": ["x"]}], "no numbers"),
        ([{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}], "numbers its 2 vectors"),
        ([{"index": 1, "embedding": [1.0]}], "numbers its 1 vectors"),
        ([{"index": "0", "embedding": [1.0]}], "numbers its 1 vectors"),
    ],
)
def test_a_200_without_usable_vectors_is_malformed(data: Any, words: str) -> None:
    answer = read_vectors({"data": data, "usage": {"prompt_tokens": 3}})
    assert answer.verdict == "malformed"
    assert words in (answer.error or "")
    assert answer.usage == Usage(prompt_tokens=3), "it may have been billed"


# paid


def test_scores_that_were_paid_for_are_found_again(tmp_path: Path) -> None:
    first = PaidScores(RunLayout(tmp_path), "mf:1")
    first.add(["a", "b"], [0.25, 0.5], Decimal("0.001"))
    first.add([], [], Decimal("0.002"))
    # killed: nothing is closed
    with (RunLayout(tmp_path).paid).open("ab") as journal:
        journal.write(b"\x99\x00\x00\x00torn")
    second = PaidScores(RunLayout(tmp_path), "mf:1")
    assert second.known(["b", "c", "a"]) == {"b": 0.5, "a": 0.25}
    assert second.bill.usd == Decimal("0.003")
    assert PaidScores(RunLayout(tmp_path), "mf:2").known(["a", "b"]) == {}
    assert read_bill(RunLayout(tmp_path)).usd == Decimal("0.003")
    second.close(sealed=True)
    assert PaidScores(RunLayout(tmp_path), "mf:1").known(["a"]) == {}
    assert read_bill(RunLayout(tmp_path)).usd == Decimal("0.003"), "the bill stays"
    assert (RunLayout(tmp_path).paid).stat().st_size < 100


def test_an_unknown_price_stays_unknown(tmp_path: Path) -> None:
    scores = PaidScores(RunLayout(tmp_path), "mf:1")
    scores.add(["a"], [0.5], None)
    scores.add(["b"], [0.5], Decimal(1))
    scores.close(sealed=True)
    assert not read_bill(RunLayout(tmp_path)).complete


def test_the_file_keeps_the_latest_scores_and_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paid, "MOST_UNSEALED", 100)
    scores = PaidScores(RunLayout(tmp_path), "mf:1")
    sizes = set()
    for number in range(100):
        scores.add([f"{number} {i}" for i in range(10)], [0.5] * 10, Decimal(1))
        sizes.add((RunLayout(tmp_path).paid).stat().st_size)
    assert max(sizes) < 200 * 24 + 30 * 60
    again = PaidScores(RunLayout(tmp_path), "mf:1")
    assert len(again.known([f"{number} {i}" for number in range(90, 100) for i in range(10)])) == 100
    assert again.bill.usd == 100
    assert sum(record.texts for record in read_records(RunLayout(tmp_path).paid, PaidRecord)) <= 200


def test_a_repeated_text_is_paid_for_once(tmp_path: Path) -> None:
    scores = PaidScores(None, "mf:1")
    scores.add(["a"], [0.25], Decimal(1))
    assert scores.known(["a"]) == {"a": 0.25}
    scores.close(sealed=True)


# cache

WRITER = """
import sys, pathlib, numpy as np
from batchroute.score.api.cache import VectorCache
cache = VectorCache(pathlib.Path(sys.argv[1]), "model", None)
for start in range(0, 400, 20):
    texts = [str(number) for number in range(start, start + 20)]
    cache.put(texts, np.array([[int(text), 0.1] for text in texts], np.float32))
cache.close()
"""


def test_many_writers_share_one_cache(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path / "cache")]
    writers = [subprocess.Popen(command) for _ in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    cache = VectorCache(tmp_path / "cache", "model", None)
    found = cache.get([str(number) for number in range(500)])
    cache.close()
    assert len(found) == 400
    assert all(row.tolist() == [int(text), np.float32(0.1)] for text, row in found.items())


def test_a_cache_tells_models_and_lengths_apart(tmp_path: Path) -> None:
    one, two = VectorCache(tmp_path, "a/b", None), VectorCache(tmp_path, "a_b", None)
    three = VectorCache(tmp_path, "a/b", 512)
    one.put(["x"], np.ones((1, 3), np.float32))
    assert (list(one.get(["x"])), two.get(["x"]), three.get(["x"])) == (["x"], {}, {})
    for cache in (one, two, three):
        cache.close()


def test_what_is_no_cache_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageFault, match=r"router\.embedder\.cache"):
        VectorCache(tmp_path / "file", "m", None)
    cache = VectorCache(tmp_path, "m", None)
    cache.close()
    cache.path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(UsageFault, match="move it away"):
        VectorCache(tmp_path, "m", None)
    cache.path.unlink()
    cache.path.mkdir()
    with pytest.raises(Stopped, match=r"remove router\.embedder\.cache"):
        VectorCache(tmp_path, "m", None)


# fetch

BAD = Answer(verdict="refused", error_type="http_400", error="HTTP 400: bad", turned_away=True)
AWAY = Answer(verdict="transient", error_type="http_500", error="HTTP 500: oops")
KEY = Answer(verdict="fatal", error_type="invalid_key", error="HTTP 401: who are you?", turned_away=True)
MOST_TEXTS = 4


def good(count: int) -> Answer:
    vectors = np.full((count, 2), 0.5, np.float32)
    return Answer(verdict="ok", vectors=vectors, completion=Completion(usage=Usage(prompt_tokens=count)))


@dataclass
class Bench:
    """A server that answers what `say` says of a request's texts, and all that came of asking it."""

    say: Callable[[list[str]], Answer]
    base64: bool = True
    asked: list[list[str]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    usages: list[Usage] = field(default_factory=list)
    found: list[Mapping[str, float | NoVector] | None] = field(default_factory=list)

    def fetch(self, *asked: Sequence[str]) -> Bench:
        asyncio.run(self._fetch(asked))
        return self

    def fetcher(self) -> Fetcher:
        spec = EmbedderSpec(use="openai", base_url="http://127.0.0.1:9/v1", max_concurrency=16_384 // MOST_TEXTS)
        policy, allowance = RetryPolicy(max_attempts=1, outage_s=60.0), OwnLimits(EndpointLimits(8))
        return Fetcher(
            self._send, policy, allowance, RequestBuilder(spec, None), self._take, self.said.append, most_open=80
        )

    async def _fetch(self, asked: Sequence[Sequence[str]]) -> None:
        fetcher = self.fetcher()
        running = asyncio.create_task(fetcher.run())
        waiting = [await fetcher.ask(texts) for texts in asked]
        self.found += await asyncio.gather(*map(fetcher.scores, waiting))
        fetcher.close()
        await running

    async def _send(self, body: bytes) -> Answer:
        request = json.loads(body)
        await asyncio.sleep(0)
        if "encoding_format" in request and not self.base64:
            return BAD
        self.asked.append(request["input"])
        return self.say(request["input"])

    def _take(self, texts: Sequence[str], vectors: Vectors | None, usages: Sequence[Usage]) -> list[float]:
        self.usages += usages
        return [] if vectors is None else vectors[:, 0].tolist()


def answers_all_but(*bad: str, with_: Answer = BAD) -> Callable[[list[str]], Answer]:
    return lambda texts: with_ if set(texts) & set(bad) else good(len(texts))


NAMES = [f"text {number}" for number in range(40)]


@pytest.mark.parametrize("base64", [True, False])
@pytest.mark.parametrize("answer", [BAD, AWAY], ids=["refused", "failing"])
def test_a_text_that_spoils_its_request_is_found(answer: Answer, base64: bool) -> None:
    bench = Bench(answers_all_but(NAMES[5], with_=answer), base64=base64).fetch(NAMES)
    (found,) = bench.found
    assert found is not None
    assert found.keys() == set(NAMES)
    assert {text for text, value in found.items() if isinstance(value, NoVector)} == {NAMES[5]}
    assert Counter(text for texts in bench.asked for text in texts)[NAMES[30]] == 1
    assert sum(usage.prompt_tokens or 0 for usage in bench.usages) == 39, "each vector was paid once"
    assert bench.said == []


def test_a_refused_request_is_divided_by_halves() -> None:
    refusal = Answer(verdict="refused", error_type="content_filter", error="HTTP 400: filtered", turned_away=True)
    first, second, bad, fourth = NAMES[:MOST_TEXTS]
    bench = Bench(answers_all_but(bad, with_=refusal)).fetch(NAMES[:MOST_TEXTS])
    assert bench.asked == [[first, second, bad, fourth], [first, second], [bad, fourth], [bad], [fourth]]
    assert bench.found == [{first: 0.5, second: 0.5, bad: NoVector("HTTP 400: filtered"), fourth: 0.5}]


def test_refusals_that_begin_in_mid_run_stop_the_lane_and_give_no_text_up() -> None:
    """Requests of several texts do not count then: one bad text spoils each, and many are under way."""
    texts = [f"text {number}" for number in range(400)]
    bench = Bench(lambda texts: good(len(texts)) if len(bench.asked) <= 10 else BAD)
    bench.fetch(texts)
    assert bench.found == [None]
    assert "the same refusal 20 times with no success between" in bench.said[0]
    assert len(bench.asked) < 350


def test_bad_texts_in_all_requests_that_are_under_way_do_not_stop_the_lane() -> None:
    texts = [f"text {number}" for number in range(400)]
    bench = Bench(answers_all_but(*texts[40::4])).fetch(texts)
    (found,) = bench.found
    assert found is not None
    assert {text for text, value in found.items() if isinstance(value, NoVector)} == set(texts[40::4])
    assert bench.said == []


def test_texts_that_two_ask_for_are_sent_once() -> None:
    bench = Bench(answers_all_but()).fetch(NAMES, NAMES[10:30], [])
    assert [len(found or {}) for found in bench.found] == [40, 20, 0]
    assert sum(map(len, bench.asked)) == 40


def test_a_caller_that_goes_away_takes_no_text_from_others() -> None:
    async def work() -> Mapping[str, float | NoVector] | None:
        fetcher = Bench(answers_all_but()).fetcher()
        first, second = [asyncio.create_task(fetcher.scores(await fetcher.ask(NAMES))) for _ in range(2)]
        await asyncio.sleep(0)
        first.cancel()
        running = asyncio.create_task(fetcher.run())
        found = await second
        fetcher.close()
        await running
        return found

    assert asyncio.run(work()) == dict.fromkeys(NAMES, 0.5)


def test_a_text_is_not_blamed_where_nothing_is_answered() -> None:
    bench = Bench(answers_all_but(*NAMES, with_=AWAY)).fetch(NAMES[:1])
    assert bench.found == [None]
    assert len(bench.said) == 1
    assert "nothing else was answered" in bench.said[0]


def test_neighbours_that_fail_alone_are_to_blame_when_others_are_answered() -> None:
    """Nothing is answered between the two last attempts, yet the endpoint is not away."""
    bench = Bench(answers_all_but(NAMES[38], NAMES[39], with_=AWAY)).fetch(NAMES)
    (found,) = bench.found
    assert found is not None
    assert {text for text, value in found.items() if isinstance(value, NoVector)} == {NAMES[38], NAMES[39]}
    assert bench.said == []


def test_a_few_refused_texts_are_refused_even_where_there_are_no_others() -> None:
    bench = Bench(answers_all_but(*NAMES)).fetch(NAMES[:2])
    assert bench.found == [{name: NoVector("HTTP 400: bad") for name in NAMES[:2]}]


@pytest.mark.parametrize("answer", [BAD, KEY], ids=["the same refusal", "a wrong key"])
def test_what_is_wrong_for_all_texts_stops_the_lane(answer: Answer) -> None:
    bench = Bench(answers_all_but(*NAMES, with_=answer)).fetch(NAMES)
    assert bench.found == [None]
    assert len(bench.said) == 1


def test_too_few_vectors_are_no_answer() -> None:
    bench = Bench(lambda texts: good(1)).fetch(NAMES[:4])
    assert bench.found == [dict.fromkeys(NAMES[:4], 0.5)], "alone each text gets its one"


# raters


@dataclass
class Slow:
    """A rater that is done with the later questions first, and stops before some."""

    ahead: int = 25
    ahead_chars: int = CHARS_IN_FLIGHT
    stopped: str | None = None
    stop_at: int | None = None
    most: int = 0
    now: int = 0

    async def rate(self, questions: Questions) -> Rated | None:
        number = int(questions.texts[0])
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.02 if number % 2 else 0.001)
        self.now -= 1
        return None if self.stop_at == number else Rated(np.full(len(questions.texts), number / 100))

    def stop(self) -> None: ...

    def abandon(self) -> None: ...


def rated(rater: Any, count: int) -> list[float]:
    chunks = iter(range(count))

    def read() -> Any:
        number = next(chunks, None)
        return None if number is None else (number, bare_questions([str(number)] * 10))

    async def work() -> list[float]:
        return [given.scores[0] * 100 async for _, _, given in rated_chunks(read, rater)]

    return asyncio.run(work())


def test_chunks_come_in_their_order_and_no_more_than_wanted_are_under_way() -> None:
    rater = Slow()
    assert rated(rater, 12) == pytest.approx(list(range(12)))
    assert rater.most == 3


def test_what_follows_an_unfinished_chunk_is_not_given() -> None:
    assert rated(Slow(stop_at=5), 12) == pytest.approx(list(range(5)))


def test_an_error_of_the_rater_ends_it_all() -> None:
    @dataclass
    class Broken(Slow):
        async def rate(self, questions: Questions) -> Rated | None:
            if questions.texts[0] == "2":
                raise UsageFault("no")
            return await super().rate(questions)

    with pytest.raises(UsageFault, match="no"):
        rated(Broken(), 12)
