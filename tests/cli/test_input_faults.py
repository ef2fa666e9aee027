"""An input that can be known to be wrong ends every command with exit 2 and what to do, and nothing is sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from inputs import lines, parquet
from jobs import on_both, write_job

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from command import Said
    from servers import ThreadedSimulator

    Command = Callable[..., Said]

COMMANDS: dict[str, tuple[str, ...]] = {
    "run": (),
    "check": (),
    "plan": (),
    "score": ("-o", "scores.parquet"),
    "calibrate": ("--strong-fraction", "0.5"),
}


def job_for(folder: Path, server: ThreadedSimulator, changes: Mapping[str, Any]) -> Path:
    return write_job(folder, on_both("base_url", server.url), on_both("params", {"max_tokens": 5}), changes)


def assert_fault(said: Said, server: ThreadedSimulator, *words: str) -> None:
    assert said.code == 2, said.err
    assert "Traceback" not in said.err
    for word in words:
        assert word in said.err + said.out
    assert server.stats().requests == 0


@pytest.fixture
def run_anywhere(
    batchroute: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, object], Said]:
    monkeypatch.chdir(tmp_path)
    return lambda name, source: batchroute(name, source, *COMMANDS[name])


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("routing", [{}, {"routing.threshold": None, "routing.strong_fraction": 0.5}])
def test_a_column_that_no_row_has(
    tmp_path: Path,
    server: ThreadedSimulator,
    run_anywhere: Callable[..., Said],
    command: str,
    routing: dict[str, Any],
) -> None:
    """Also with a threshold, where the first rows would be answered before the last ones are read."""
    lines(tmp_path / "prompts.jsonl", *({"prompt": f"question {row}", "topic": "x"} for row in range(9000)))
    job = job_for(tmp_path, server, {"input.keep": ["topics"], "input.id": "id", **routing})
    words = ["prompts.jsonl: no row has a column 'topics'; did you mean 'topic'?", "no row has a column 'id'"]
    assert_fault(run_anywhere(command, job), server, *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_without_a_row(
    tmp_path: Path, server: ThreadedSimulator, run_anywhere: Callable[..., Said], command: str
) -> None:
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"prompt": "a"}, indent=1))
    words = "prompts.jsonl: not one line is a row, the first begins '{'; write each object on a line of its own"
    assert_fault(run_anywhere(command, job_for(tmp_path, server, {})), server, words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.csv", "id,promt\n1,a\n", "a.csv: no column 'prompt'; did you mean 'promt'? it has id, promt"),
        ("a.csv", "prompt,prompt\na,b\n", "a.csv: several columns are called 'prompt'"),
        ("a.json", '[{"promt": "a"}]', "a.json: no row has a column 'prompt'; did you mean 'promt'?"),
        ("a.json", '{"data": [{"prompt": "a"}]}', "a.json: one object and no rows; its rows stand in 'data'"),
        (
            "a.jsonl",
            '{"prompt": "a"}\n' * 9,
            "the input has only 9 rows, input.min_rows asks for 10",
        ),
    ],
)
def test_a_fault_of_any_format(
    tmp_path: Path,
    server: ThreadedSimulator,
    run_anywhere: Callable[..., Said],
    command: str,
    name: str,
    data: str,
    words: str,
) -> None:
    (tmp_path / name).write_text(data)
    job = job_for(tmp_path, server, {"input.path": name, "input.min_rows": 10})
    assert_fault(run_anywhere(command, job), server, words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["score", "calibrate"])
def test_a_data_file_by_itself(
    tmp_path: Path, batchroute: Command, server: ThreadedSimulator, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    data = lines(tmp_path / "data.jsonl", {"question": "a"})
    said = batchroute(command, data, "--prompt", "questions", *COMMANDS[command])
    assert_fault(said, server, "data.jsonl: no row has a column 'questions'; did you mean 'question'?")


@pytest.mark.parametrize("path", ["data", "data/*.parquet", ["data/0.parquet", "data/1.parquet"], "*/1.parquet"])
@pytest.mark.parametrize("command", ["run", "check"])
def test_a_link_to_nothing(
    tmp_path: Path,
    server: ThreadedSimulator,
    run_anywhere: Callable[..., Said],
    command: str,
    path: str | list[str],
) -> None:
    (tmp_path / "data").mkdir()
    parquet(tmp_path / "data/0.parquet", {"prompt": ["a"]})
    (tmp_path / "data/1.parquet").symlink_to("../blobs/1")
    job = job_for(tmp_path, server, {"input.path": path})
    assert_fault(
        run_anywhere(command, job), server, "data/1.parquet: a link to ../blobs/1, where there is nothing"
    )


def test_a_column_that_comes_late_is_no_fault(
    tmp_path: Path, server: ThreadedSimulator, batchroute: Command
) -> None:
    lines(tmp_path / "prompts.jsonl", *[{"prompt": "a"}] * 300, {"prompt": "a", "topic": "x"})
    job = job_for(tmp_path, server, {"input.keep": ["topic"], "routing.threshold": 0.5})
    assert batchroute("run", job, "--quiet").code == 0
    assert server.stats().requests == 301
