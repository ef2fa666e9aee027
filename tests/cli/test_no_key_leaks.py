"""No eight consecutive characters of a key in anything that is written or said."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl
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
TOKEN = "team-7Yw2mN4cR9sT1uE5"
JOB = {
    "output.raw": True,
    **on_both("api_key_env", "CANARY_KEY"),
    **on_both("max_attempts", 2),
    "endpoints.weak.headers": {"x-team": {"env": "CANARY_TOKEN"}},
}


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "token").write_text(TOKEN + "\n")
    monkeypatch.setenv("CANARY_KEY", KEY)
    monkeypatch.setenv("CANARY_TOKEN_FILE", str(tmp_path / "token"))
    return tmp_path / "job.toml"


def write_at(job: Path, url: str) -> None:
    write_job(job.parent, JOB, on_both("base_url", url), {"endpoints.strong.base_url": f"{url}?api-version=2"})


def leaks(*texts: bytes | str) -> set[str]:
    grams = {secret[i : i + 8] for secret in (KEY, TOKEN) for i in range(len(secret) - 7)}
    plain = [text.decode("utf-8", "replace") if isinstance(text, bytes) else text for text in texts]
    return {gram for gram in grams for text in plain if gram in text}


def written(run: Path) -> list[bytes]:
    return [path.read_bytes() for path in run.rglob("*") if path.is_file()]


def test_a_provider_that_echoes_the_key_it_refuses(job: Path, batchroute: Command) -> None:
    (job.parent / "prompts.jsonl").write_text("".join(json.dumps({"prompt": str(n)}) + "\n" for n in range(30)))
    with threaded_simulator(Behaviour(api_key="another")) as provider:
        write_at(job, provider.url)
        said = batchroute("run", job, "--log-format", "json", "--json")
    assert said.code == 4
    assert "check the key" in said.err
    assert "[secret]" in said.err, "the echo reached us, and was masked"
    assert leaks(said.out, said.err, *written(job.parent / "run")) == set()


async def parrot(request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
    """A provider whose answers hold the headers it was sent."""
    headers = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
    message = {"content": headers, "reasoning_content": request.headers["Authorization"]}
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    return web.json_response({"model": "parrot", "choices": [{"message": message}], "usage": usage})


def test_a_provider_that_echoes_the_key_in_its_answers(job: Path, batchroute: Command) -> None:
    (job.parent / "prompts.jsonl").write_text(json.dumps({"prompt": "hello"}) + "\n")
    with upstream(parrot) as provider:
        write_at(job, provider.url)
        said = batchroute("run", job, "--json")
    run = job.parent / "run"
    assert said.code == 0, said.err
    (answer,) = pl.read_parquet(run / "results" / "*.parquet").to_dicts()
    assert "Bearer [secret]" in answer["response"]
    assert answer["reasoning"] == "Bearer [secret]"
    assert "[secret]" in answer["raw"]
    outputs = [batchroute("report", run), batchroute("report", run, "--json"), batchroute("check", job)]
    assert batchroute("export", run, job.parent / "out.csv").code == 0
    texts = [text for output in (said, *outputs) for text in (output.out, output.err)]
    assert leaks(*texts, (job.parent / "out.csv").read_bytes(), *written(run)) == set()


def test_a_netrc_for_the_host_changes_nothing(
    job: Path, batchroute: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = job.parent / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password wrong\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    (job.parent / "prompts.jsonl").write_text(json.dumps({"prompt": "hello"}) + "\n")
    with threaded_simulator(Behaviour(api_key=KEY)) as provider:
        write_at(job, provider.url)
        assert batchroute("run", job, "--quiet").code == 0
        assert provider.stats().by_status == {"200": 1}
