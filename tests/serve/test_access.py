"""Who gets in, by table and through a socket; the server as a process."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
import pytest

from batchroute.errors import UsageFault
from batchroute.job.secrets import Secret
from batchroute.serve.access import access_policy
from batchroute.simulate.behaviour import Behaviour
from command import Said, assert_one_message
from servers import threaded_simulator
from serving import COMMAND, KEY, SHORT, serve, server_process, user, wait_for, write_job

if TYPE_CHECKING:
    from collections.abc import Callable

JSON = {"Content-Type": "application/json"}
HERE = {"Host": "127.0.0.1:6060", **JSON}
CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (HERE, None),
        ({**HERE, "Host": "localhost"}, None),
        ({**HERE, "Host": "LOCALHOST:6060"}, None),
        ({**HERE, "Host": "[::1]:6060"}, None),
        ({**HERE, "Host": "my.name"}, None),
        ({**HERE, "Content-Type": "Application/JSON; charset=utf-8"}, None),
        ({**HERE, "Host": "evil.example"}, 403),
        ({**HERE, "Host": "127.0.0.1.evil.example"}, 403),
        ({**HERE, "Host": "192.168.0.7"}, 403),
        ({**HERE, "Host": "localhost@evil.example"}, 403),
        ({**HERE, "Host": "[::1"}, 403),
        ({**HERE, "Host": ""}, 403),
        (JSON, 403),
        ({**HERE, "Origin": "http://127.0.0.1:6060"}, 403),
        ({**HERE, "Origin": "null"}, 403),
        ({"Host": "localhost"}, 415),
        ({**HERE, "Content-Type": "text/plain"}, 415),
        ({**HERE, "Content-Type": "multipart/form-data; boundary=x"}, 415),
    ],
)
def test_who_gets_in_on_loopback(headers: dict[str, str], status: int | None) -> None:
    away = access_policy("127.0.0.1", ["my.name"], None).denies("POST", CHAT, headers)
    assert (away and away.status) == status


@pytest.mark.parametrize(
    ("headers", "path", "status"),
    [
        ({"Authorization": f"Bearer {KEY}"}, CHAT, None),
        ({}, "/health", None),
        ({}, "/metrics", 401),
        ({"Authorization": f"bearer {KEY}"}, CHAT, None),
        ({"Authorization": KEY}, CHAT, 401),
        ({"Authorization": f"Basic {KEY}"}, CHAT, 401),
        ({"Authorization": f"Bearer {KEY[:-1]}"}, CHAT, 401),
        ({"Authorization": "Bearer "}, CHAT, 401),
        ({"Authorization": "Bearer \udcff"}, CHAT, 401),
        ({"Authorization": f"Bearer {KEY}", "Host": "10.0.0.7"}, CHAT, None),
        ({"Authorization": f"Bearer {KEY}", "Host": "evil.example"}, CHAT, 403),
    ],
)
def test_who_gets_in_from_elsewhere(headers: dict[str, str], path: str, status: int | None) -> None:
    away = access_policy("0.0.0.0", [], Secret(KEY)).denies("GET", path, {**HERE, **headers})  # noqa: S104 - never bound
    assert (away and away.status) == status


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "myhost"])  # noqa: S104 - never bound
def test_other_hosts_need_a_key(host: str) -> None:
    with pytest.raises(UsageFault, match="--api-key-env"):
        access_policy(host, [], None)


def test_a_key_is_asked_for_and_a_page_is_not_let_in(tmp_path: Path) -> None:
    with threaded_simulator() as provider, serve(tmp_path, provider.url, provider.url, key=Secret(KEY)) as served:
        with openai.OpenAI(base_url=served.url, api_key=KEY) as ask:
            assert ask.chat.completions.create(model="weak", messages=user(SHORT))
        with openai.OpenAI(base_url=served.url, api_key="other") as ask, pytest.raises(openai.AuthenticationError):
            ask.chat.completions.create(model="weak", messages=user(SHORT))
        page = {"Origin": "http://evil.example"}
        refused = pytest.raises(openai.PermissionDeniedError, match="web pages")
        with openai.OpenAI(base_url=served.url, api_key=KEY, default_headers=page) as ask, refused:
            ask.models.list()
        assert served.server.chat_api.metrics.denied == {"invalid_api_key": 1, "origin": 1}
        assert provider.stats().requests == 1, "the client's key never goes on to an endpoint"


# --- the process


@pytest.mark.parametrize(("drain_s", "arrives"), [(20, True), (0.1, False)])
def test_a_signal_awaits_what_is_under_way_for_so_long(tmp_path: Path, drain_s: float, arrives: bool) -> None:
    with threaded_simulator(Behaviour(latency_s=1.5)) as provider:
        job = write_job(tmp_path, provider.url, drain_s)
        with server_process(job) as (process, url), openai.OpenAI(base_url=url, api_key="x", max_retries=0) as ask:
            answers: list[Any] = []

            def one() -> None:
                try:
                    answers.append(ask.chat.completions.create(model="router", messages=user(SHORT)).model)
                except openai.APIError:
                    answers.append(None)

            asking = threading.Thread(target=one)
            asking.start()
            wait_for(lambda: provider.stats().in_flight == 1)
            process.send_signal(signal.SIGTERM)
            asking.join(30)
            assert answers == (["small-model"] if arrives else [None])
            assert process.wait(30) == 128 + signal.SIGTERM
            with pytest.raises(OSError, match="refused"):
                http.client.HTTPConnection("127.0.0.1", int(url.split(":")[2][:-3]), timeout=5).connect()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--host", "0.0.0.0"], ["--api-key-env"]),  # noqa: S104 - it is refused
        (["--api-key-env", "NOT_SET_ANYWHERE"], ["--api-key-env", "not set"]),
        (["--set", 'router.embedder={use="column", column="v"}', "--set", 'router.use="mf"'], ["column"]),
        (["--set", "routing.threshold=2"], ["routing.threshold"]),
    ],
)
def test_what_cannot_be_served_is_one_message(
    tmp_path: Path, batchroute: Callable[..., Said], flags: list[str], words: list[str]
) -> None:
    job = write_job(tmp_path, "http://127.0.0.1:9/v1")
    assert_one_message(batchroute("serve", job, "--port", "0", *flags), 2, *words)


def test_a_port_that_is_taken(tmp_path: Path, batchroute: Callable[..., Said]) -> None:
    with threaded_simulator() as provider:
        said = batchroute("serve", write_job(tmp_path, provider.url), "--port", provider.port)
    assert_one_message(said, 2, "taken", "--port")


def test_no_key_stands_in_the_process_list_or_in_what_is_said(tmp_path: Path) -> None:
    with threaded_simulator(Behaviour(api_key="another")) as provider:
        job = write_job(tmp_path, provider.url)
        job.write_text(
            job.read_text().replace('model = "small-model"', 'model = "small-model"\napi_key_env = "CANARY"')
        )
        environ = {**os.environ, "CANARY": KEY, "GATE_KEY": KEY[::-1]}
        command = [*COMMAND, "serve", str(job), "--port", "0", "--api-key-env", "GATE_KEY"]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ
        ) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode()
            url = json.loads(first)["base_url"]
            failing = pytest.raises(openai.InternalServerError)
            with openai.OpenAI(base_url=url, api_key=KEY[::-1], max_retries=0) as ask, failing as raised:
                ask.chat.completions.create(model="weak", messages=user(SHORT))
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
    texts = (first, out, err, arguments, str(raised.value))
    secrets = (KEY, KEY[::-1])
    assert not [
        key[i : i + 8] for key in secrets for i in range(len(key) - 7) for text in texts if key[i : i + 8] in text
    ]
    assert "[secret]" in str(raised.value), "the provider echoed it"
    assert process.returncode == 128 + signal.SIGINT
