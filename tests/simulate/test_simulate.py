"""The simulated provider over real sockets: each fault as a client meets it, and the process around it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import signal
import socket
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import uvloop

from batchroute.errors import UsageFault
from batchroute.simulate.behaviour import Behaviour
from batchroute.simulate.server import start
from servers import simulator_process, threaded_simulator

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

ANSWER_S = 60.0  # more than any machine takes to answer
GIVE_UP_S = 0.3  # for answers that never come


def asked(prompt: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": prompt}]}


async def post(
    client: aiohttp.ClientSession, url: str, prompt: str, give_up_s: float = ANSWER_S
) -> tuple[int, bytes, str]:
    """Status, body and content type of one completion, redirects not followed."""
    timeout = aiohttp.ClientTimeout(total=give_up_s)
    call = client.post(f"{url}/chat/completions", json=asked(prompt), allow_redirects=False, timeout=timeout)
    async with call as answer:
        return answer.status, await answer.read(), answer.content_type


def simulated(
    test: Callable[[aiohttp.ClientSession, str], Coroutine[Any, Any, None]],
    behaviour: Behaviour,
    new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
) -> None:
    """Runs a test in a loop of its own, with a provider and a client in it."""

    async def main() -> None:
        async with start(behaviour) as simulator, aiohttp.ClientSession() as client:
            await test(client, simulator.url)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  the provider counts, it does not notify
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("reset", aiohttp.ClientOSError),
        ("cut", aiohttp.ClientPayloadError),
        ("hang", TimeoutError),
        ("stall", TimeoutError),
        ("slow", TimeoutError),
        ("endless", TimeoutError),
    ],
)
def test_answer_that_never_arrives_whole(
    name: str, error: type[Exception], new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    give_up_s = GIVE_UP_S if error is TimeoutError else ANSWER_S

    async def test(client: aiohttp.ClientSession, url: str) -> None:
        with pytest.raises(error):
            await post(client, url, f"[[fault:{name}:1]]", give_up_s)
        status, _, _ = await post(client, url, f"[[fault:{name}:1]]")
        assert status == 200, "the provider goes on after a spoilt answer"

    simulated(test, Behaviour(slow_s=60), new_loop)


def test_slow_body_arrives_in_the_end() -> None:
    async def test(client: aiohttp.ClientSession, url: str) -> None:
        status, body, _ = await post(client, url, "[[fault:slow]]")
        assert status == 200
        assert json.loads(body)["choices"]

    simulated(test, Behaviour(slow_s=0.05))


def content(body: bytes) -> Any:
    return json.loads(body)["choices"][0]["message"]["content"]


def usage(body: bytes) -> Any:
    return json.loads(body).get("usage")


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("no_choices", lambda body: json.loads(body)["choices"] == []),
        ("null_content", lambda body: content(body) is None),
        ("lone_surrogate", lambda body: content(body).endswith("\ud83d")),
        ("no_usage", lambda body: usage(body) is None),
        ("usage_nulls", lambda body: usage(body)["prompt_tokens"] is None),
        ("usage_strings", lambda body: usage(body)["prompt_tokens"].isdecimal()),
        ("oversize", lambda body: len(body) > 3e6),
        ("gzip_bomb", lambda body: len(body) > 3e6),
        ("truncated", lambda body: body.startswith(b'{"id"') and not body.endswith(b"}")),
        ("empty", lambda body: body == b""),
        ("html", lambda body: body.startswith(b"<html>")),
        ("not_utf8", lambda body: b"\xff" in body),
        ("ok_slow_down", lambda body: json.loads(body)["error"]["code"] == "slow_down"),
    ],
)
def test_200_with_a_spoilt_body(name: str, check: Callable[[bytes], bool]) -> None:
    async def test(client: aiohttp.ClientSession, url: str) -> None:
        status, body, _ = await post(client, url, f"[[fault:{name}]]")
        assert status == 200
        assert check(body)

    simulated(test, Behaviour(oversize_mb=3))


def test_gzip_bomb_is_small_on_the_wire() -> None:
    async def main() -> None:
        plain = aiohttp.ClientSession(auto_decompress=False)
        async with start(Behaviour(oversize_mb=10)) as simulator, plain as client:
            _, body, _ = await post(client, simulator.url, "[[fault:gzip_bomb]]")
            assert len(body) < 12_000

    asyncio.run(main())


def test_wrong_content_type() -> None:
    async def test(client: aiohttp.ClientSession, url: str) -> None:
        status, body, content_type = await post(client, url, "[[fault:content_type]]")
        assert (status, content_type) == (200, "text/plain")
        assert content(body)

    simulated(test, Behaviour())


@pytest.mark.parametrize("status", [302, 307])
def test_redirect_leads_where_nobody_should_go(status: int) -> None:
    async def test(client: aiohttp.ClientSession, url: str) -> None:
        call = client.post(f"{url}/chat/completions", json=asked(f"[[fault:{status}]]"), allow_redirects=False)
        async with call as answer:
            assert answer.status == status
            assert answer.headers["Location"] == "/elsewhere"
        async with client.post(f"{url}/chat/completions", json=asked(f"[[fault:{status}]]")) as answer:
            assert answer.status == 404, "a client that follows finds nothing"
        async with client.get(f"{url.removesuffix('/v1')}/stats") as answer:
            routes = (await answer.json())["by_route"]
        assert [route for route in routes if "elsewhere" in route], "and is seen"

    simulated(test, Behaviour())


def test_faults_of_transport_reach_embeddings_too() -> None:
    async def test(client: aiohttp.ClientSession, url: str) -> None:
        async with client.post(f"{url}/embeddings", json={"model": "e", "input": "[[fault:503:1]]"}) as answer:
            assert answer.status == 503
        async with client.post(f"{url}/embeddings", json={"model": "e", "input": "[[fault:no_usage]]"}) as answer:
            assert len((await answer.json())["data"][0]["embedding"]) == 1536

    simulated(test, Behaviour())


def test_a_stream_arrives_event_by_event_and_says_what_a_whole_answer_says() -> None:
    async def test(client: aiohttp.ClientSession, url: str) -> None:
        whole = content((await post(client, url, "Why?"))[1])
        streamed = {**asked("Why?"), "stream": True, "stream_options": {"include_usage": True}}
        async with client.post(f"{url}/chat/completions", json=streamed) as answer:
            assert answer.content_type == "text/event-stream"
            events = (await answer.read()).decode().split("\n\n")
        assert events[-2:] == ["data: [DONE]", ""]
        chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
        assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks[:-1]) == whole
        assert chunks[-1]["usage"]["completion_tokens"] > 0

    simulated(test, Behaviour(chunk_s=0.001))


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("vectors_shuffled", lambda data: [item["index"] for item in data] == [1, 0]),
        ("vector_missing", lambda data: len(data) == 1),
        ("vector_short", lambda data: [len(item["embedding"]) for item in data] == [1, 1536]),
        ("vector_nan", lambda data: math.isnan(data[0]["embedding"][0])),
    ],
)
def test_vectors_that_are_not_as_they_should_be(name: str, check: Callable[[list[dict[str, Any]]], bool]) -> None:
    async def test(client: aiohttp.ClientSession, url: str) -> None:
        texts = [f"[[fault:{name}:1]]", "b"]
        async with client.post(f"{url}/embeddings", json={"model": "e", "input": texts}) as answer:
            assert check(json.loads(await answer.read())["data"])
        async with client.post(f"{url}/embeddings", json={"model": "e", "input": texts}) as answer:
            assert [len(item["embedding"]) for item in (await answer.json())["data"]] == [1536, 1536]

    simulated(test, Behaviour())


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "truncated"),
        (b"[]", "Expected `object`"),
        (b'{"latency": 1}', "no such setting: latency; there are latency_s"),
        (b'{"latency_s": "soon"}', "settings of the simulated provider"),
        (b'{"error_rate": 2}', "rates of a simulated provider lie in"),
        (b'{"faults": {"gremlin": 1}}', "no such fault: gremlin"),
    ],
)
def test_a_bad_control_says_what_is_wrong_and_changes_nothing(body: bytes, words: str) -> None:
    async def test(client: aiohttp.ClientSession, url: str) -> None:
        async with client.post(f"{url.removesuffix('/v1')}/control", data=body) as answer:
            assert answer.status == 400
            assert words in (await answer.json())["error"]["message"]
        assert (await post(client, url, "x"))[0] == 200

    simulated(test, Behaviour())


def test_models_health_and_unknown_paths() -> None:
    async def test(client: aiohttp.ClientSession, url: str) -> None:
        root = url.removesuffix("/v1")
        async with client.get(f"{url}/models") as answer:
            assert (await answer.json())["object"] == "list"
        async with client.get(f"{root}/health") as answer:
            assert (await answer.json())["simulated"] is True
        async with client.get(f"{url}/chat/completions") as answer:
            assert answer.status == 404

    simulated(test, Behaviour())


def test_in_flight_is_counted_and_ends_when_the_client_hangs_up() -> None:
    async def main() -> None:
        async with start(Behaviour(latency_s=60)) as simulator:
            async with aiohttp.ClientSession() as client:
                calls = [asyncio.create_task(post(client, simulator.url, str(i))) for i in range(5)]
                await until(lambda: simulator.stats().in_flight == 5)
                for call in calls:
                    call.cancel()
                await asyncio.gather(*calls, return_exceptions=True)
            await until(lambda: simulator.stats().in_flight == 0)
            assert simulator.stats().max_in_flight == 5
            assert len(simulator.stats().arrivals_s) == 5

    asyncio.run(asyncio.wait_for(main(), ANSWER_S))


def test_closing_does_not_wait_for_requests_in_flight() -> None:
    async def main() -> None:
        async with aiohttp.ClientSession() as client:
            async with start(Behaviour(latency_s=600)) as simulator:
                call = asyncio.create_task(post(client, simulator.url, "x"))
                await until(lambda: simulator.stats().in_flight == 1)
            with pytest.raises(aiohttp.ClientError):
                await call

    asyncio.run(asyncio.wait_for(main(), ANSWER_S))


def test_requests_are_recorded_when_asked_for() -> None:
    async def test(client: aiohttp.ClientSession, url: str) -> None:
        headers = {"x-team": "data"}
        async with client.post(f"{url}/chat/completions", json=asked("x"), headers=headers):
            pass
        async with client.get(f"{url.removesuffix('/v1')}/stats") as answer:
            recorded = (await answer.json())["recorded"]
        assert len(recorded) == 1
        assert recorded[0]["headers"]["x-team"] == "data"
        assert json.loads(recorded[0]["body"]) == asked("x")

    simulated(test, Behaviour(keep_requests=3))


def test_refused_connections_until_it_listens_again() -> None:
    async def once(url: str) -> int:
        async with aiohttp.ClientSession() as client:
            status, _, _ = await post(client, url, "x")
            return status

    with threaded_simulator() as simulator:
        assert asyncio.run(once(simulator.url)) == 200
        simulator.refuse()
        with pytest.raises(aiohttp.ClientConnectorError):
            asyncio.run(once(simulator.url))
        simulator.listen()
        assert asyncio.run(once(simulator.url)) == 200
        assert simulator.stats().by_status == {"200": 2}


def test_taken_port_is_one_clear_message() -> None:
    async def main() -> None:
        async with start(Behaviour()) as first:
            with pytest.raises(UsageFault, match=f"port {first.port} .* is taken"):
                async with start(Behaviour(), first.port):
                    pytest.fail("two on one port")

    asyncio.run(main())


def test_unknown_fault_is_one_clear_message() -> None:
    async def test(client: aiohttp.ClientSession, url: str) -> None:
        pytest.fail("it has begun")

    with pytest.raises(UsageFault, match="no such fault: gremlin"):
        simulated(test, Behaviour(faults={"gremlin": 0.5}))


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_process_is_controlled_over_http_and_ends_cleanly(name: signal.Signals) -> None:
    async def statuses(url: str) -> list[int]:
        async with aiohttp.ClientSession() as client:
            return [(await post(client, url, "x"))[0] for _ in range(2)]

    with simulator_process(Behaviour(response_tokens=5)) as simulator:
        assert asyncio.run(statuses(simulator.url)) == [200, 200]
        simulator.control({"faults": {"503": 1.0}})
        assert asyncio.run(statuses(simulator.url)) == [503, 503]
        assert simulator.stats().by_status == {"200": 2, "503": 2}
        simulator.process.send_signal(name)
        assert simulator.process.wait(ANSWER_S) == 0


def test_first_line_of_stdout_is_the_port() -> None:
    code = (
        "from batchroute.simulate.behaviour import Behaviour; from batchroute.simulate.server import serve; "
        "serve(Behaviour())"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()
        assert process.stdout.read() == ""
    assert list(json.loads(line)) == ["port"]


def test_the_commands_options_are_the_providers_settings() -> None:
    code = "from batchroute.cli import main; main()"
    options = ["--poison", "404=1", "--busy", "flex=1", "--busy-error", "capacity_exceeded"]
    options += ["--tier-answer", "priority=default", "--tier-answer", "scale="]
    command = [sys.executable, "-c", code, "simulate", *options]

    async def answers(url: str) -> list[tuple[int, Any]]:
        async with aiohttp.ClientSession() as client:
            tiers = ("flex", "priority", "scale", "default")
            # A marker decides alone, so that only the last one is poisoned.
            prompts = [
                "[[fault:no_usage]] 1",
                "[[fault:no_usage]] 2",
                "[[fault:no_usage]] 3",
                "poisoned as all are",
            ]
            said = []
            for prompt, tier in zip(prompts, tiers, strict=True):
                body = {**asked(prompt), "service_tier": tier}
                async with client.post(f"{url}/chat/completions", json=body) as answer:
                    said.append((answer.status, (await answer.json()).get("service_tier")))
            return said

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process, contextlib.ExitStack() as stack:
        stack.callback(process.terminate)
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())["port"]
        said = asyncio.run(answers(f"http://127.0.0.1:{port}/v1"))
    assert said == [(498, None), (200, "default"), (200, None), (404, None)]


@pytest.mark.parametrize("option", [("--busy", "flex=often"), ("--poison", "500=2"), ("--fault", "gremlin=1")])
def test_an_option_that_makes_no_sense_is_one_clear_message(option: tuple[str, str]) -> None:
    code = "from batchroute.cli import main; main()"
    command = [sys.executable, "-c", code, "simulate", *option]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: ")
    assert "Traceback" not in ended.stderr


def test_the_command_takes_more_connections_than_its_soft_limit_of_open_files() -> None:
    run = [sys.executable, "-c", "from batchroute.cli import main; main()", "simulate"]
    command = ["sh", "-c", 'ulimit -Sn 100; exec "$@"', "sh", *run]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process, contextlib.ExitStack() as stack:
        stack.callback(process.terminate)
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())["port"]
        for _ in range(200):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), ANSWER_S))
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"http://127.0.0.1:{port}/health", timeout=ANSWER_S) as answer:
            assert json.loads(answer.read())["simulated"] is True
