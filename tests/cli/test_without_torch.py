"""What never imports torch, which takes longer than all the rest of a start: here it cannot be imported."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from checkpoints import routellm_checkpoint
from inputs import lines
from jobs import on_both, simulated, write_job

if TYPE_CHECKING:
    from pathlib import Path

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from batchroute.cli import main; main()"
ONE_SIDE_EACH = {"router.use": "mf", "routing": {"strong_fraction": 0.5}}
NO_LATENCY = simulated(latency_s=0.0)


def job_in(folder: Path, *changes: dict[str, Any]) -> Path:
    lines(folder / "prompts.jsonl", *({"prompt": f"What is {row} times {row}?"} for row in range(20)))
    return write_job(folder, NO_LATENCY, ONE_SIDE_EACH, *changes)


def without_torch(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_torch_is_really_missing(tmp_path: Path) -> None:
    said = without_torch("plan", job_in(tmp_path))
    assert said.returncode == 1
    assert "torch" in said.stderr


def test_a_run_whose_scores_are_stored(tmp_path: Path, batchroute: Any) -> None:
    job = job_in(tmp_path)
    assert batchroute("plan", job).code == 0
    for arguments in (
        ["run", job],
        ["report", tmp_path / "run"],
        ["whatif", tmp_path / "run", "--threshold", "0.5"],
    ):
        said = without_torch(*arguments)
        assert said.returncode == 0, said.stderr


@pytest.mark.parametrize("router", ["length", "random"])
def test_a_router_that_does_not_multiply(tmp_path: Path, router: str) -> None:
    said = without_torch("run", job_in(tmp_path, {"router.use": router}))
    assert said.returncode == 0, said.stderr


def test_check_knows_models_from_their_files(tmp_path: Path) -> None:
    assert without_torch("check", job_in(tmp_path)).returncode == 0
    model = {"router.model": str(routellm_checkpoint(tmp_path / "mf.safetensors"))}
    embedder = {"use": "openai", "base_url": "http://127.0.0.1:9/v1", "price": {"input": 0.02}}
    said = without_torch("check", job_in(tmp_path, model, {"router.embedder": embedder}))
    assert said.returncode == 0, said.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"router.strong": "gpt-none"}, "no model named 'gpt-none'"),
        ({"router.model": "nowhere"}, "no such model directory"),
        ({"router.embedder": {"use": "column", "column": "vector"}}, "vector"),
        ({"router": {"use": "nowhere:Router"}}, "cannot be imported"),
    ],
)
def test_check_finds_what_is_wrong_with_a_router(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    said = without_torch("check", job_in(tmp_path, changes))
    assert said.returncode == 2
    assert message in said.stderr


def test_check_finds_an_embedder_of_another_length(tmp_path: Path) -> None:
    model = {"router.model": str(routellm_checkpoint(tmp_path / "mf.safetensors", text_dim=8))}
    embedder = {"use": "openai", "base_url": "http://127.0.0.1:9/v1", "price": {"input": 0.02}}
    said = without_torch("check", job_in(tmp_path, model, {"router.embedder": embedder}, on_both("price", None)))
    assert said.returncode == 2
    assert "the model reads vectors of 8 numbers, `openai` makes 1536" in said.stderr
