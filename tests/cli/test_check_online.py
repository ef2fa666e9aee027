"""check --online: one look at the models and one small request a side, in whatever API it speaks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from batchroute.simulate.behaviour import Behaviour
from jobs import on_both, write_job
from servers import threaded_simulator
from upstream import upstream

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Said

    Command = Callable[..., Said]

KEY = "sk-canary-8f3kQ71xZpL0vB6n"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"prompt": "hello"}) + "\n")
    return tmp_path


def write_at(folder: Path, url: str, changes: dict[str, Any] | None = None) -> Path:
    price = on_both("price", {"input": 1.0, "output": 10.0})
    return write_job(folder, on_both("base_url", url), price, changes or {})


@pytest.mark.parametrize("api", ["chat", "responses", "anthropic"])
def test_each_side_answers_a_token(job: Path, batchroute: Command, api: str) -> None:
    with threaded_simulator(Behaviour(keep_requests=10)) as provider:
        params = {"max_tokens": 400, "temperature": 0.5}
        path = write_at(job, provider.url, on_both("api", api) | on_both("params", params))
        said = batchroute("check", path, "--online")
        sent = [each for each in provider.stats().recorded if each.route.startswith("POST")]
    asked = [json.loads(each.body) for each in sent]
    assert (said.code, said.err) == (0, "")
    assert len(asked) == 2
    for body in asked:
        assert body["temperature"] == 0.5
        assert body.get("max_tokens", body.get("max_output_tokens")) == (16 if api == "responses" else 1)
    assert said.out.count("answered in") == 2
    assert "in, " in said.out
    assert "tokens, for $0.000" in said.out
    assert said.out.endswith("fit to run\n")


def test_nothing_is_sent_without_the_flag(job: Path, batchroute: Command) -> None:
    with threaded_simulator() as provider:
        assert batchroute("check", write_at(job, provider.url)).code == 0
        assert provider.stats().requests == 0


def test_a_job_that_is_not_fit_is_not_sent(job: Path, batchroute: Command) -> None:
    with threaded_simulator() as provider:
        said = batchroute("check", write_at(job, provider.url, {"input.prompt": "nowhere"}), "--online")
        assert said.code == 2
        assert provider.stats().requests == 0


def test_a_wrong_key_is_said_and_not_shown(
    job: Path, batchroute: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY_KEY", KEY)
    with threaded_simulator(Behaviour(api_key="another")) as provider:
        said = batchroute("check", write_at(job, provider.url, on_both("api_key_env", "CANARY_KEY")), "--online")
    assert said.code == 4
    assert said.err.count("check the key it names") == 2
    assert KEY[3:11] not in said.out + said.err
    assert "fit to run" not in said.out


def test_an_address_that_is_wrong(job: Path, batchroute: Command) -> None:
    said = batchroute("check", write_at(job, "http://127.0.0.1:9/v1"), "--online")
    assert said.code == 4
    assert "connection refused (127.0.0.1:9)" in said.err


async def picky(request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
    """Knows two models, takes no temperature, and bills nothing it speaks of."""
    assert isinstance(request, web.BaseRequest)
    if "temperature" in asked:
        error = {"message": "Unsupported parameter: temperature", "type": "invalid_request_error"}
        return web.json_response({"error": error}, status=400)
    return web.json_response({"choices": [{"message": {"content": "OK"}}], "model": asked["model"]})


def test_a_parameter_that_the_model_does_not_take(job: Path, batchroute: Command) -> None:
    with upstream(picky) as provider:
        path = write_at(job, provider.url, {"endpoints.strong.params": {"temperature": 1}})
        said = batchroute("check", path, "--online")
    assert said.code == 4
    assert "strong: HTTP 400: Unsupported parameter: temperature" in said.err
    assert "without usage: its costs will be unknown" in said.out
