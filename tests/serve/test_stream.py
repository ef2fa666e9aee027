"""Streams through the server: in whole events, as they arrive, with the usage only for whoever asked."""

from __future__ import annotations

import asyncio
import json
import threading
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import openai
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from batchroute.job.secrets import Scrubber
from batchroute.serve import stream
from batchroute.serve.stream import EventRelay
from batchroute.simulate.behaviour import Behaviour
from batchroute.types import Usage
from servers import threaded_simulator
from serving import KEY, SHORT, asking, headers_of, user
from upstream import answer, upstream

if TYPE_CHECKING:
    import re
    from pathlib import Path

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def event(chunk: Any, end: str = "\n\n") -> bytes:
    return f"data: {chunk if isinstance(chunk, str) else json.dumps(chunk)}{end}".encode()


def piece(text: str, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}}], "usage": None, **more}


EVENTS = [
    b": keep-alive\n\n",
    event(piece("Hel")),
    event(piece("lo\n\nusage"), "\r\n\r\n"),
    event(piece("!"), "\r\r"),
]
LAST = event({"choices": [], "usage": USAGE})
DONE = event("[DONE]")


def relayed(
    pieces: list[bytes], *, keep_usage: bool, scrub: Scrubber | None = None
) -> tuple[list[bytes], EventRelay]:
    written: list[bytes] = []

    async def write(events: bytes) -> None:
        written.append(events)

    async def work() -> EventRelay:
        relay = EventRelay(write, scrub or Scrubber([]), keep_usage=keep_usage)
        for each in pieces:
            await relay.receive(each)
        await relay.finish()
        return relay

    relay = asyncio.run(work())
    return written, relay


@given(cuts=st.lists(st.integers(0, 400), max_size=20), keep_usage=st.booleans())
def test_however_a_stream_is_cut_its_events_come_whole_and_once(cuts: list[int], keep_usage: bool) -> None:
    whole = b"".join([*EVENTS, LAST, DONE])
    edges = [0, *sorted(cuts), len(whole)]
    pieces = [whole[start:end] for start, end in pairwise(edges)]
    written, relay = relayed(pieces, keep_usage=keep_usage)
    assert b"".join(written) == b"".join([*EVENTS, *([LAST] if keep_usage else []), DONE])
    assert relay.usage == Usage(7, None, 3, None)
    assert relay.begun


def test_an_event_is_passed_on_as_soon_as_it_is_whole() -> None:
    first, second = event(piece("a")), event(piece("b"))
    written, _ = relayed([first[:9], first[9:] + second[:5], second[5:]], keep_usage=False)
    assert written == [first, second]


class Counting:
    """A pattern that counts the bytes it is given to look through."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self.pattern = pattern
        self.looked_through = 0

    def search(self, text: bytes, start: int) -> re.Match[bytes] | None:
        found = self.pattern.search(text, start)
        self.looked_through += (len(text) if found is None else found.end()) - start
        return found


def test_an_event_that_never_ends_is_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting(stream._END)
    monkeypatch.setattr(stream, "_END", counting)
    pieces = [b"data: " + b"x" * 994] * 500
    written, _ = relayed(pieces, keep_usage=False)
    assert written == [b"".join(pieces)]
    assert counting.looked_through <= 2 * sum(map(len, pieces))


def test_usage_beside_text_stays() -> None:
    both = event(piece("a", usage=USAGE))
    written, relay = relayed([both], keep_usage=False)
    assert (written, relay.usage) == ([both], Usage(7, None, 3, None))


@pytest.mark.parametrize(
    "odd", [b"data: {torn\n\n", b'data: {"usage": 7}\n\n', b'data: "usage"\n\n', b"\xff\xfe\n\n", b"no end"]
)
def test_odd_events_pass(odd: bytes) -> None:
    written, relay = relayed([odd], keep_usage=False)
    assert (written, relay.usage) == ([odd], None)


def test_a_key_in_an_event_is_taken_out() -> None:
    written, _ = relayed([event(piece(f"your key is {KEY}"))], keep_usage=False, scrub=Scrubber([KEY]))
    assert written == [event(piece("your key is [secret]"))]


# --- through the server


def test_chunks_come_one_by_one_and_make_up_the_answer(tmp_path: Path) -> None:
    with threaded_simulator() as provider, asking(tmp_path, provider.url) as (_, ask):
        whole = ask.chat.completions.create(model="weak", messages=user(SHORT))
        with ask.chat.completions.create(model="router", messages=user(SHORT), stream=True) as stream:
            headers = headers_of(stream.response)
            chunks = list(stream)
    assert all(chunk.choices for chunk in chunks), "the chunk of the usage was not asked for"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == whole.choices[0].message.content
    assert (headers["route"], headers["model"], headers["threshold"]) == ("weak", "small-model", "0.5")
    assert "cost-usd" not in headers


def test_a_chunk_is_there_before_the_next_is_made(tmp_path: Path) -> None:
    arrived = threading.Semaphore(0)

    async def say(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for text in ("a", "b", "c"):
            await response.write(event(piece(text)))
            assert await asyncio.to_thread(arrived.acquire, timeout=20)
        return response

    with upstream(say) as provider, asking(tmp_path, provider.url) as (_, ask):
        text = ""
        for chunk in ask.chat.completions.create(model="weak", messages=user(SHORT), stream=True):
            text += chunk.choices[0].delta.content or ""
            arrived.release()
    assert text == "abc"


def test_the_usage_is_asked_for_and_billed_and_told_to_whoever_asked(tmp_path: Path) -> None:
    with threaded_simulator(Behaviour(keep_requests=10)) as provider:
        with asking(tmp_path, provider.url) as (served, ask):
            for options in ({}, {"stream_options": {"include_usage": True}}):
                chunks = list(
                    ask.chat.completions.create(model="weak", messages=user(SHORT), stream=True, **options)  # type: ignore[call-overload]
                )
                assert (chunks[-1].usage is not None) == bool(options)
            metrics = served.server.chat_api.metrics
        stats = provider.stats()
    sent = [json.loads(each.body) for each in stats.recorded]
    assert [body["stream_options"] for body in sent] == [{"include_usage": True}] * 2
    assert metrics.tokens["weak", "completion"] == stats.completion_tokens
    assert metrics.cost_usd["weak"] > 0


def test_a_stream_that_breaks_off_ends_with_an_error(tmp_path: Path) -> None:
    with threaded_simulator() as provider, asking(tmp_path, provider.url) as (_, ask):
        stream = ask.chat.completions.create(model="weak", messages=user("[[fault:cut]]"), stream=True)
        with pytest.raises(openai.APIError, match="ended early"):
            list(stream)
        assert provider.stats().requests == 1, "what a client has had of an answer is not asked for again"


def test_a_stream_is_retried_before_it_began(tmp_path: Path) -> None:
    with threaded_simulator() as provider, asking(tmp_path, provider.url) as (_, ask):
        chunks = list(ask.chat.completions.create(model="weak", messages=user("[[fault:503:2]]"), stream=True))
        assert chunks[-1].choices[0].finish_reason == "stop"
        assert provider.stats().by_status == {"503": 2, "200": 1}


def test_a_reader_that_goes_away_ends_the_stream_at_its_source(tmp_path: Path) -> None:
    async def endless(request: web.BaseRequest, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while True:
            await response.write(event(piece("more ")))
            await asyncio.sleep(0.01)

    with upstream(endless) as provider, asking(tmp_path, provider.url) as (_, ask):
        with ask.chat.completions.create(model="weak", messages=user(SHORT), stream=True) as stream:
            assert next(stream).choices[0].delta.content == "more "
        assert provider.gone.wait(20)


def test_a_provider_that_does_not_stream_answers_whole(tmp_path: Path) -> None:
    with upstream(answer) as provider, asking(tmp_path, provider.url) as (_, ask):
        raw = ask.chat.completions.with_raw_response.create(model="weak", messages=user(SHORT), stream=True)
        assert json.loads(raw.http_response.read())["choices"][0]["message"]["content"] == "Hello"
