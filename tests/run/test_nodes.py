"""What each machine of a cluster is asked before anything is sent; another process stands for the machine."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest

from batchroute.errors import UsageFault
from batchroute.run.workers.nodes import Answer, Question, asking, refuse_unfit, refuse_version
from jobs import job_of, on_both

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

HOST = re.escape(socket.gethostname())
CANARY = "sk-canary-2f9a61c7"
ANSWER = (
    "import sys; from batchroute.run.workers.nodes import answer; "
    "sys.stdout.buffer.write(answer(sys.stdin.buffer.read()))"
)


def there(question: Question, environ: Mapping[str, str]) -> bytes:
    """The answer of a process with an environment of its own."""
    asked = msgspec.json.encode(question)
    done = subprocess.run(
        [sys.executable, "-c", ANSWER], input=asked, env=environ, capture_output=True, check=True
    )
    return done.stdout


@pytest.fixture
def question(tmp_path: Path) -> Iterator[Question]:
    job = job_of(tmp_path / "in.jsonl", tmp_path, on_both("api_key_env", "PROVIDER_KEY"))
    with asking(job, tmp_path / "probe") as question:
        yield question


def test_a_machine_that_has_all_is_fit(question: Question) -> None:
    refuse_unfit(question, there(question, {"PROVIDER_KEY": CANARY}))


def test_a_key_may_lie_in_a_file_of_its_own_on_each_machine(question: Question, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(CANARY)
    refuse_unfit(question, there(question, {"PROVIDER_KEY_FILE": str(tmp_path / "key")}))


def test_a_variable_that_is_unset_there_is_named_and_its_machine(question: Question) -> None:
    with pytest.raises(UsageFault, match=rf"^{HOST}: PROVIDER_KEY is not set"):
        refuse_unfit(question, there(question, {}))


def test_nothing_of_a_key_travels(question: Question) -> None:
    answered = there(question, {"PROVIDER_KEY": CANARY})
    assert CANARY[:8].encode() not in answered + msgspec.json.encode(question)


def test_a_machine_without_the_directory_is_named(question: Question, tmp_path: Path) -> None:
    (tmp_path / "probe").unlink()
    with pytest.raises(UsageFault, match=f"^{HOST}: does not see the run directory {tmp_path}"):
        refuse_unfit(question, there(question, {"PROVIDER_KEY": CANARY}))


def test_a_directory_of_the_same_name_is_another_one(question: Question, tmp_path: Path) -> None:
    (tmp_path / "probe").write_text("somebody else's")
    with pytest.raises(UsageFault, match="does not see the run directory"):
        refuse_unfit(question, there(question, {"PROVIDER_KEY": CANARY}))


def test_a_lock_that_is_not_refused_is_none(tmp_path: Path) -> None:
    job = job_of(tmp_path / "in.jsonl", tmp_path)
    with asking(job, tmp_path / "probe") as question:
        pass
    (tmp_path / "probe").write_text(question.nonce)  # as where the driver's lock does not reach the machine
    with pytest.raises(UsageFault, match=rf"^{HOST}: locks in .* are not honoured"):
        refuse_unfit(question, there(question, {}))


def test_nothing_is_left_of_the_question(question: Question, tmp_path: Path) -> None:
    assert [path.name for path in tmp_path.iterdir()] == ["probe"]
    assert msgspec.json.decode(there(question, {}), type=Answer).is_refused


@pytest.mark.parametrize(
    ("version", "words"), [(None, "is not installed there"), ("0.0.9", "has batchroute 0.0.9")]
)
def test_another_version_is_refused(version: str | None, words: str) -> None:
    with pytest.raises(UsageFault, match=f"^mill-3: .*{words}"):
        refuse_version("mill-3", version)
