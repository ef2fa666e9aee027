"""Live requests at an endpoint, in virtual time: what is learnt of it outlives the rests of its lane."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
import pytest

from batchroute.send.allowance import EndpointLimits, OwnLimits
from batchroute.send.classify import Answer
from batchroute.send.request import Outcome, Request
from batchroute.send.retry import RetryPolicy
from batchroute.serve.forward import REST_S, LiveLane, failure_of
from batchroute.types import Completion, Prompt, Usage
from virtual_time import run_virtually

if TYPE_CHECKING:
    from batchroute.send.endpoint import Receive

OUTAGE_S = 20.0
OK = Answer(verdict="ok", completion=Completion(response="Hello", usage=Usage(600, None, 400)))
AWAY = Answer(verdict="transient", error_type="connect", error="no connection")
LIMITED = Answer(verdict="rate_limited", error_type="rate_limit", error="HTTP 429")


@dataclass
class Provider:
    """Takes `per_10_s` requests in 10 s; `sent_at` are the times of all that came while it was not away."""

    per_10_s: int = 1000
    away: bool = False
    probes_at: list[float] = field(default_factory=list)  # what came while it was
    sent_at: list[float] = field(default_factory=list)

    async def send(self, body: bytes, receive: Receive | None) -> Answer:
        now = asyncio.get_running_loop().time()
        if self.away:
            self.probes_at.append(now)
            answer = AWAY
        elif sum(now - at < 10 for at in self.sent_at) < self.per_10_s:
            self.sent_at.append(now)
            answer = OK
        else:
            answer = LIMITED
        await asyncio.sleep(0.2)
        return answer

    def lane(self, **limits: int) -> LiveLane:
        policy = RetryPolicy(max_attempts=3, outage_s=OUTAGE_S, stop_after_same_refusal=0, excuse_outages=False)
        allowance = OwnLimits(replace(EndpointLimits(50), **limits))
        return LiveLane({"": self.send}, policy, allowance, lambda reason: None, asyncio.get_running_loop().time)

    async def goes_away(self, lane: LiveLane) -> None:
        """Until the lane rests for the first time: clients ask on, and are no longer held."""
        self.away = True
        outcome = await lane.ask(request(1))
        while outcome.answer.error_type != "stopped":
            outcomes = await asyncio.gather(*(lane.ask(request(1)) for _ in range(10)))
            outcome = outcomes[0]


def request(tokens: int = 1000) -> Request:
    prompt = Prompt(file="", row=0, id=None, messages=b"[]", params=None)
    return Request(prompt, b"{}", tokens, None, "override", most_usd=Decimal(0))


def test_tokens_of_the_last_minute_count_after_a_rest() -> None:
    async def work() -> Provider:
        provider = Provider()
        lane = provider.lane(tokens_per_minute=1200)
        assert (await lane.ask(request())).status == "ok"
        await provider.goes_away(lane)
        provider.away = False
        await asyncio.sleep(REST_S)
        assert (await lane.ask(request())).status == "ok"
        return provider

    provider = run_virtually(work())
    assert len(provider.sent_at) == 2
    assert provider.sent_at[1] - provider.sent_at[0] >= 60


def test_a_speed_learnt_from_429_holds_after_a_rest() -> None:
    async def work() -> list[float]:
        provider = Provider(per_10_s=10)
        lane = provider.lane()
        await asyncio.gather(*(lane.ask(request()) for _ in range(30)))
        await asyncio.sleep(10)
        await provider.goes_away(lane)
        provider.away = False
        await asyncio.sleep(REST_S)
        before = len(provider.sent_at)
        await asyncio.gather(*(lane.ask(request()) for _ in range(8)))
        return provider.sent_at[before:]

    sent_at = run_virtually(work())
    assert len(sent_at) == 8
    assert sent_at[-1] - sent_at[1] > 4, "they do not leave in the same moment"


def test_an_endpoint_that_is_away_is_probed_once_a_rest_until_it_is_back() -> None:
    async def work() -> Provider:
        provider = Provider()
        lane = provider.lane()
        await provider.goes_away(lane)
        provider.probes_at.clear()
        loop = asyncio.get_running_loop()

        async def client() -> Outcome:
            while (outcome := await lane.ask(request())).status != "ok":  # noqa: ASYNC110 - as a client would
                await asyncio.sleep(0.5)
            return outcome

        clients = [asyncio.create_task(client()) for _ in range(20)]
        await asyncio.sleep(100)
        provider.away = False
        back_at = loop.time()
        await asyncio.gather(*clients)
        assert loop.time() - back_at < 2 * REST_S
        return provider

    provider = run_virtually(work())
    assert 100 / (REST_S + 1) < len(provider.probes_at) <= 100 / REST_S + 1
    assert len(provider.sent_at) == 20


def test_a_pause_that_is_longer_than_a_client_waits_is_kept() -> None:
    asked: list[float] = []

    async def send(body: bytes, receive: Receive | None) -> Answer:
        asked.append(asyncio.get_running_loop().time())
        return OK if len(asked) > 1 else msgspec.structs.replace(LIMITED, retry_after_s=300.0)

    async def work() -> None:
        loop = asyncio.get_running_loop()
        policy = RetryPolicy(max_attempts=3, outage_s=OUTAGE_S, excuse_outages=False)
        lane = LiveLane({"": send}, policy, OwnLimits(EndpointLimits(50)), lambda reason: None, loop.time)
        while True:
            asked_at = loop.time()
            outcome = await lane.ask(request())
            assert loop.time() - asked_at < 1, "no client is held"
            if outcome.status == "ok":
                return
            await asyncio.sleep(10)

    run_virtually(work())
    assert len(asked) == 2
    assert asked[1] >= 300


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (LIMITED, 429, "rate_limit_exceeded"),
        (msgspec.structs.replace(LIMITED, error_type="rate_limited"), 429, "rate_limit_exceeded"),
        (Answer(verdict="busy", error_type="busy"), 429, "resource_unavailable"),
        (Answer(verdict="refused", error_type="too_large"), 413, "request_too_large"),
        (Answer(verdict="refused", error_type="content_filter"), 400, "content_filter"),
        (Answer(verdict="refused", error_type="http_404"), 404, "http_404"),
        (Answer(verdict="fatal", error_type="quota"), 429, "insufficient_quota"),
        (Answer(verdict="fatal", error_type="invalid_key"), 502, "invalid_key"),
        (Answer(verdict="transient", error_type="http_503"), 502, "http_503"),
        (AWAY, 502, "connect"),
    ],
)
def test_what_a_client_is_told(answer: Answer, status: int, code: str) -> None:
    assert failure_of(answer) == (status, code)
