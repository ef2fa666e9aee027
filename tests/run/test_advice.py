"""What `check` warns of: hardly meant, and no fault."""

from __future__ import annotations

import os
import re
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchroute.job.load import load_job
from batchroute.job.prices import open_targets
from batchroute.run.advice import advice
from inputs import lines
from jobs import job_of, on_both, write_job

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from command import Said

    Command = Callable[..., Said]

JOBS = Path(__file__).parents[2] / "jobs"
OPENAI = "https://api.openai.com/v1"
KEYS = on_both("api_key_env", "OPENAI_API_KEY")
TODAY = date(2026, 11, 28)
REAL = {
    **on_both("base_url", OPENAI),
    **on_both("price", None),
    **on_both("api_key_env", "KEY"),
    "endpoints.strong.model": "gpt-6.1-sol",
    "endpoints.weak.model": "gpt-6-luna",
}


def advised(folder: Path, changes: Mapping[str, Any]) -> list[str]:
    job = job_of(folder / "prompts.jsonl", folder / "run", {**REAL, **changes})
    return list(advice(job, open_targets(job.asked), TODAY))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"endpoints.strong.model": "gpt-6-luna", "endpoints.weak.model": "gpt-6.1-sol"},
            "strong costs less than weak",
        ),
        (
            {
                "endpoints.strong.price": {"input": 1.0, "output": 1.0},
                "endpoints.weak.price": {"input": 0.5, "output": 4.0},
            },
            "strong costs less than weak: $0.001300 against $0.001700",
        ),
        (
            {"endpoints.strong.model": "gpt-6-luna"},
            "are the same model at the same address, gpt-6-luna: routing between them changes nothing",
        ),
        (
            {"endpoints.strong.model": "gpt-6-luna", "endpoints.weak.params": {"reasoning_effort": "low"}},
            "strong and weak are the same model at the same address, gpt-6-luna: only their params differ",
        ),
        (
            {"endpoints.weak.api_key_env": None},
            "endpoints.weak.api_key_env is missing, and api.openai.com wants a key",
        ),
        (
            {"endpoints.strong.model": "gpt-6.1-sool"},
            "endpoints.strong.model gpt-6.1-sool has no known price; did you mean gpt-6.1-sol?",
        ),
        (
            {"endpoints.weak.base_url": f"{OPENAI}/chat/completions?key=canary"},
            f"endpoints.weak.base_url is probably meant to be {OPENAI}",
        ),
        (
            {"endpoints.weak.params": {"max_tokens": 10}},
            "endpoints.weak.params.max_tokens is refused by gpt-6-luna; write max_completion_tokens",
        ),
        (
            {"endpoints.strong.model": "gpt-5"},
            "endpoints.strong.model gpt-5 goes off on 2026-12-11; its successor is gpt-6.1-sol",
        ),
        (
            {
                "endpoints.weak.base_url": "https://generativelanguage.googleapis.com/v1beta/openai",
                "endpoints.weak.model": "gemini-2.0-flash-lite",
            },
            "endpoints.weak.model gemini-2.0-flash-lite is listed as deprecated; look up its last day",
        ),
        (
            {
                "router.embedder.use": "openai",
                "router.use": "mf",
                "router.embedder.base_url": f"{OPENAI}/embeddings",
            },
            f"router.embedder.base_url is probably meant to be {OPENAI}",
        ),
    ],
)
def test_what_is_hardly_meant_is_said_in_one_line(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    [said] = advised(tmp_path, changes)
    assert words in said
    assert "canary" not in said


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {**on_both("base_url", "http://127.0.0.1:8000/v1"), "endpoints.strong.model": "gpt-6.1-sool"},
        {**on_both("base_url", "http://10.0.0.5:8000/v1"), "endpoints.strong.model": "Qwen/Qwen2.5-7B-Instruct"},
        {**on_both("base_url", "http://vllm:8000/v1"), "endpoints.strong.model": "Qwen/Qwen2.5-7B-Instruct"},
        {"endpoints.strong.model": "gpt-6.1-sool", "endpoints.strong.price": {"input": 5, "output": 9}},
        {"endpoints.strong.price": {"input": 1, "output": 1}, "endpoints.weak.price": {"input": 1, "output": 1}},
        {
            "endpoints.weak.model": "gpt-6.1-sol",
            "endpoints.weak.base_url": "https://mine.openai.azure.com/openai/v1",
        },
    ],
    ids=["a sound job", "a local server", "in the network", "by its name", "own price", "same price", "two hosts"],
)
def test_what_may_well_be_meant_is_passed_over(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert advised(tmp_path, changes) == []


@pytest.mark.parametrize("path", sorted(JOBS.glob("*.toml")), ids=lambda path: path.stem)
def test_a_recipe_needs_no_advice(path: Path, tmp_path: Path) -> None:
    names = dict.fromkeys(re.findall(r"\$\{(\w+)\}", path.read_text()), "x")
    job = load_job(path, environ=os.environ, variables=names, output=tmp_path)
    assert list(advice(job, open_targets(job.asked), TODAY)) == []


def test_check_warns_on_stderr_and_finds_the_job_fit(
    tmp_path: Path, batchroute: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "canary")
    lines(tmp_path / "prompts.jsonl", {"prompt": "hi"})
    job = write_job(tmp_path, on_both("base_url", f"{OPENAI}/chat/completions"), KEYS)
    for flags in ((), ("--quiet",)):
        said = batchroute("check", job, *flags)
        assert said.code == 0
        assert f"warning: endpoints.strong.base_url is probably meant to be {OPENAI}\n" in said.err


def test_several_jobs_have_a_heading_each(tmp_path: Path, batchroute: Command) -> None:
    jobs = []
    for name, model in (("a", "gpt-6-luna"), ("b", "gpt-6.1-sol")):
        (tmp_path / name).mkdir()
        lines(tmp_path / name / "prompts.jsonl", {"prompt": "hi"})
        jobs.append(write_job(tmp_path / name, on_both("base_url", OPENAI), on_both("model", model)))
    (tmp_path / "b" / "prompts.jsonl").unlink()
    said = batchroute("check", *jobs)
    assert said.code == 2
    first, second = said.out.split("\n\n")
    assert first.startswith(f"{jobs[0]}:\ninput: 1 rows")
    assert first.endswith(f"{jobs[0]}: fit to run")
    assert second.startswith(f"{jobs[1]}:\n")
    assert "fit to run" not in second
    assert f"warning: {jobs[0]}: strong and weak are the same model" in said.err
    assert f"error: {jobs[1]}: " in said.err
    assert "fit to run" in batchroute("check", jobs[0]).out.splitlines()[-1]


@pytest.mark.parametrize("command", ["run", "check", "plan", "score"])
def test_a_class_beside_the_job_file_is_found_from_any_folder(
    tmp_path: Path, batchroute: Command, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    home = tmp_path / "jobs"
    home.mkdir()
    lines(home / "prompts.jsonl", {"prompt": "hi"}, {"prompt": "hello"})
    (home / f"beside_{command}.py").write_text(
        "class Half:\n    def score(self, texts):\n        return [0.5] * len(texts)\n"
    )
    simulated = {**on_both("base_url", None), **on_both("simulate", {"latency_s": 0.0})}
    job = write_job(home, simulated, {"router.use": f"beside_{command}:Half"})
    monkeypatch.chdir(tmp_path)
    flags = ("-o", "scores.parquet") if command == "score" else ()
    said = batchroute(command, job, *flags)
    assert said.code == 0, said.err
