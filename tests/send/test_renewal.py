"""Keys that expire while a job runs: printed by a command, or in a file that something else rewrites."""

from __future__ import annotations

import asyncio
import shlex
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow.dataset as ds
import pytest
from aiohttp import web

from batchroute.errors import JobFault
from batchroute.job.endpoint import EndpointSpec
from batchroute.job.secrets import Scrubber, endpoint_secrets, printed_key
from batchroute.run.engine import run_job
from batchroute.run.options import RunOptions
from batchroute.send.http import Address, Transport, api_url
from batchroute.send.renewal import KeyRenewal, RenewedKey
from inputs import lines
from jobs import job_of, on_both
from upstream import upstream

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ROWS = 60
FIRST, SECOND, THIRD = (f"token-{name}-4cR9sT1uE5xQ" for name in ("first", "second", "third"))
OK = {"model": "m", "choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}


@dataclass
class Issuer:
    """Takes one token, and a new one after so many answers; the file has the token that is good now."""

    file: Path
    changes_after: list[tuple[int, str]] = field(default_factory=list)
    good: str = FIRST
    answered: int = 0
    keeps_file: bool = False

    def __post_init__(self) -> None:
        self.file.write_text(FIRST + "\n")

    async def answer(self, request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
        if self.changes_after and self.answered == self.changes_after[0][0]:
            self.good = self.changes_after.pop(0)[1]
            if not self.keeps_file:
                self.file.write_text(self.good + "\n")
        token = request.headers.get("x-token") or request.headers["Authorization"].removeprefix("Bearer ")
        if token != self.good:
            said = f"the token {token} has expired"
            return web.json_response({"error": {"message": said, "code": "invalid_api_key"}}, status=401)
        self.answered += 1
        return web.json_response(OK | {"id": token, "model": asked["model"]})


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path / "token")


@pytest.fixture
def command(tmp_path: Path, issuer: Issuer) -> str:
    """Prints the token, and counts how often it was run."""
    program = tmp_path / "print_token.py"
    program.write_text(
        "import pathlib, sys\n"
        "with open(sys.argv[2], 'a') as runs: runs.write('.')\n"
        "print(pathlib.Path(sys.argv[1]).read_text().strip())\n"
    )
    return shlex.join([sys.executable, str(program), str(issuer.file), str(tmp_path / "runs")])


def run_with(
    folder: Path, issuer: Issuer, key: Mapping[str, Any], environ: Mapping[str, str] | None = None
) -> Any:
    """One row at a time beside 3 others; a row has one attempt."""
    path = lines(folder / "prompts.jsonl", *({"prompt": f"row {row}"} for row in range(ROWS)))
    said: list[str] = []
    with upstream(issuer.answer) as provider:
        sends = {
            **on_both("base_url", provider.url),
            **on_both("max_attempts", 1),
            "endpoints.weak.max_concurrency": 4,
        }
        job = job_of(path, folder / "run", {**sends, **key})
        end = run_job(job, RunOptions(environ=environ or {}, notify=said.append))
    return end, said


def test_a_command_is_run_again_when_its_key_expires(tmp_path: Path, issuer: Issuer, command: str) -> None:
    issuer.changes_after = [(20, SECOND)]
    end, _ = run_with(tmp_path, issuer, {"endpoints.weak.api_key_command": command})
    assert (end.ok, end.failed, end.refused, end.exit_code(0.0)) == (ROWS, 0, 0, 0)
    assert (tmp_path / "runs").read_text() == "..", (
        "once at the start, once for all requests that were turned away"
    )
    stored = [path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()]
    grams = {token[i : i + 8].encode() for token in (FIRST, SECOND) for i in range(6, len(token) - 7)}
    assert not any(gram in content for gram in grams for content in stored)


def test_a_key_file_is_read_again(tmp_path: Path, issuer: Issuer) -> None:
    issuer.changes_after = [(20, SECOND)]
    environ = {"TOKEN_FILE": str(issuer.file)}
    end, _ = run_with(tmp_path, issuer, {"endpoints.weak.api_key_env": "TOKEN"}, environ)
    assert (end.ok, end.exit_code(0.0)) == (ROWS, 0)


def test_a_secret_header_is_read_again_and_shows_nowhere(tmp_path: Path, issuer: Issuer) -> None:
    issuer.changes_after = [(20, SECOND)]
    secret = {"endpoints.weak.headers": {"x-token": {"env": "TOKEN"}}}
    end, _ = run_with(tmp_path, issuer, secret, {"TOKEN_FILE": str(issuer.file)})
    assert (end.ok, end.exit_code(0.0)) == (ROWS, 0)
    ids = {row["request_id"] for row in ds.dataset(tmp_path / "run" / "results").to_table().to_pylist()}
    assert ids
    assert not any(
        token[i : i + 8] in text for text in ids for token in (FIRST, SECOND) for i in range(len(token) - 7)
    )


def test_a_key_that_expires_again_within_a_minute_stops_the_lane(
    tmp_path: Path, issuer: Issuer, command: str
) -> None:
    issuer.changes_after = [(20, SECOND), (40, THIRD)]
    end, said = run_with(tmp_path, issuer, {"endpoints.weak.api_key_command": command})
    assert (end.ok, end.failed, end.refused, end.exit_code(0.0)) == (40, 0, 0, 4)
    assert "check the key" in said[0]
    assert (tmp_path / "runs").read_text() == ".."


def test_the_same_key_again_stops_the_lane(tmp_path: Path, issuer: Issuer, command: str) -> None:
    issuer.changes_after, issuer.keeps_file = [(20, SECOND)], True
    end, _ = run_with(tmp_path, issuer, {"endpoints.weak.api_key_command": command})
    assert (end.ok, end.failed, end.exit_code(0.0)) == (20, 0, 4)
    assert (tmp_path / "runs").read_text() == ".."


def test_a_key_that_was_never_good_is_not_read_again(tmp_path: Path, issuer: Issuer, command: str) -> None:
    issuer.good = SECOND
    end, _ = run_with(tmp_path, issuer, {"endpoints.weak.api_key_command": command})
    assert (end.ok, end.exit_code(0.0)) == (0, 4)
    assert (tmp_path / "runs").read_text() == "."


def test_a_key_that_cannot_be_read_again_says_why(tmp_path: Path, issuer: Issuer) -> None:
    issuer.changes_after = [(20, SECOND)]
    command = shlex.join([sys.executable, "-c", f"print(open({str(issuer.file)!r}).read())"])
    answer = issuer.answer

    async def forgetful(request: web.BaseRequest, asked: dict[str, Any]) -> web.StreamResponse:
        response = await answer(request, asked)
        if issuer.answered == 20:
            issuer.file.unlink(missing_ok=True)
        return response

    issuer.keeps_file = True
    issuer.answer = forgetful  # type: ignore[method-assign]  # of this one issuer
    end, said = run_with(tmp_path, issuer, {"endpoints.weak.api_key_command": command})
    assert (end.ok, end.exit_code(0.0)) == (20, 4)
    assert "api_key_command ended with status 1; try it by hand" in said[0]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("no-such-program-anywhere", "cannot be run"),
        ("'unclosed", "cannot be run"),
        (shlex.join([sys.executable, "-c", "raise SystemExit(3)"]), "ended with status 3"),
        (shlex.join([sys.executable, "-c", "pass"]), "printed no key"),
        (shlex.join([sys.executable, "-c", "print('two\\nlines')"]), "printed no key"),
        (shlex.join([sys.executable, "-c", "print('schl\\u00fcssel')"]), "printed no key"),
    ],
)
def test_a_command_that_prints_no_key(command: str, words: str) -> None:
    with pytest.raises(JobFault, match=words):
        printed_key(command)


def test_no_shell_reads_the_command(tmp_path: Path) -> None:
    command = f"{sys.executable} -c 'import sys; print(sys.argv[1])' $HOME;touch-{tmp_path.name}"
    assert printed_key(command).reveal() == f"$HOME;touch-{tmp_path.name}"


def test_a_simulated_endpoint_runs_no_command() -> None:
    spec = EndpointSpec.model_validate({"model": "m", "simulate": {}, "api_key_command": "no-such-program"})
    assert endpoint_secrets(spec, {}).api_key is None


def test_a_key_may_expire_once_a_minute() -> None:
    """The tokens that the reader gives, one a minute; a 401 of an older one is answered without reading."""
    keys = iter(["one", "two", "two"])
    read: list[str] = []

    def read_key() -> RenewedKey:
        read.append(next(keys))
        return RenewedKey({"Authorization": read[-1]}, [])

    now = 0.0

    def clock() -> float:
        return now

    async def work() -> None:
        nonlocal now
        url = api_url("http://127.0.0.1:9/v1", "chat/completions")
        async with Transport(Address(url, {"Authorization": "none"}, 1.0, 1024, None, read_key)) as transport:
            key = KeyRenewal([transport], Scrubber(), clock)
            assert await asyncio.gather(*(key.renewed(0) for _ in range(5))) == [True] * 5
            assert (read, transport.headers["Authorization"], key.version) == (["one"], "one", 1)
            now = 59.0
            assert not await key.renewed(1)
            now = 60.0
            assert await key.renewed(1)
            assert await key.renewed(0)
            now = 120.0
            assert not await key.renewed(2)
            assert read == ["one", "two", "two"]

    asyncio.run(work())


def test_an_endpoint_without_a_reader_keeps_its_key() -> None:
    async def work() -> bool:
        url = api_url("http://127.0.0.1:9/v1", "chat/completions")
        async with Transport(Address(url, {}, 1.0, 1024)) as transport:
            return await KeyRenewal([transport], Scrubber()).renewed(0)

    assert not asyncio.run(work())
