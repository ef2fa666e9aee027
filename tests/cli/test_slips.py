"""Arguments that a hasty user confuses: the command does what was meant, or names the one that does."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import pytest

from batchroute.cli.places import kind_of
from checkpoints import routellm_checkpoint
from inputs import lines, parquet
from jobs import simulated, write_job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Said

    Command = Callable[..., Said]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: a job that has run, data, labels, a model."""
    folder = tmp_path_factory.mktemp("desk")
    lines(folder / "prompts.jsonl", *({"prompt": "x" * row} for row in range(20)))
    parquet(folder / "texts.parquet", {"prompt": ["hi"]})
    lines(
        folder / "labels.jsonl",
        *({"prompt": "x" * row, "strong": 1.0, "weak": row % 2 * 1.0} for row in range(40)),
    )
    write_job(folder, simulated(latency_s=0.0), {"output.path": "runs/night"}).rename(folder / "nightly.toml")
    (folder / "notes").mkdir()
    (folder / "notes" / "read.txt").write_text("hello")
    routellm_checkpoint(folder / "mf.safetensors")
    return folder


@pytest.fixture
def here(desk: Path, monkeypatch: pytest.MonkeyPatch, batchroute: Command) -> Path:
    monkeypatch.chdir(desk)
    if not (desk / "runs").exists():
        assert batchroute("run", "nightly.toml", "--quiet", "--set", "name=nightly").code == 0
    return desk


def test_what_a_path_is(here: Path) -> None:
    kinds = {
        "nightly.toml": "job",
        "runs/night": "run",
        "runs/night/job.toml": "job",
        "runs": "folder",
        "prompts.jsonl": "data",
        "texts.parquet": "data",
        "mf.safetensors": "model",
        "notes": "folder",
        "notes/read.txt": "file",
        "nowhere": "missing",
    }
    assert {name: kind_of(here / name) for name in kinds} == kinds


IS_DATA = "prompts.jsonl is data, not a job file; to write one: batchroute init prompts.jsonl"
IS_RUN = "runs/night is a run directory, not a job file. What it did: batchroute report runs/night"
SAID = [
    ("plan prompts.jsonl", IS_DATA),
    ("run texts.parquet", "texts.parquet is data, not a job file; to write one: batchroute init texts.parquet"),
    ("check prompts.jsonl", IS_DATA),
    ("serve prompts.jsonl", IS_DATA),
    ("show prompts.jsonl", IS_DATA),
    ("run runs/night", f"{IS_RUN}; to go on with it: batchroute run nightly.toml"),
    ("plan runs/night", IS_RUN),
    ("run mf.safetensors", "mf.safetensors is a router's model, not a job file; a job names it as router.model"),
    ("run .", ". is a folder, not a job file; it has nightly.toml"),
    ("run notes", "notes is a folder, not a job file; of data, this writes one: batchroute init notes"),
    ("run nightli.toml", "nightli.toml: there is no such job file; did you mean nightly.toml?"),
    ("run nightly", "nightly: there is no such job file; did you mean nightly.toml?"),
    ("check nightly.tml", "did you mean nightly.toml?"),
    ("run nowhere/else.toml", "nowhere/else.toml: there is no such job file"),
    ("report runs", "runs: not a run directory, but it holds runs/night; name one of them"),
    ("report prompts.jsonl", "prompts.jsonl: not a run directory"),
    ("report runs/nigth", "did you mean runs/night?"),
    ("export out.csv runs/night", "the run comes first: batchroute export runs/night out.csv"),
    ("score runs/night -o s.parquet", "runs/night is a run directory, whose scores stand in runs/night/scores"),
    ("score mf.safetensors -o s.parquet", "mf.safetensors is a router's model, not data"),
    ("calibrate prompts.jsonl --strong-fraction 0.2", "prompts.jsonl has no scores yet: name the text column"),
    ("calibrate texts.parquet --strong-fraction 0.2", "has no column `score`; name its text column with --prompt"),
    ("calibrate runs/night --strong-fraction 0.2", "batchroute whatif runs/night --strong-fraction F"),
    ("evaluate runs/night", "runs/night is a run directory, not labels"),
    (
        "evaluate nightly.toml",
        "nightly.toml is a job file, not labels; its forecast: batchroute plan nightly.toml",
    ),
    ("evaluate mf.safetensors", "batchroute evaluate LABELS --model mf.safetensors"),
    ("evaluate lables.jsonl", "lables.jsonl: there is no such file of labels; did you mean labels.jsonl?"),
    ("evaluate prompts.jsonl", "prompts.jsonl: labels need one of these sets of columns"),
    ("train prompts.jsonl -o m", "prompts.jsonl: labels need one of these sets of columns"),
    ("train runs/night -o m", "runs/night is a run directory, not labels"),
    ("nightly.toml", "did you mean: batchroute run nightly.toml"),
    ("nightly.toml --limit 3", "did you mean: batchroute run nightly.toml --limit 3"),
    ("runs/night", "did you mean: batchroute report runs/night"),
    ("prompts.jsonl", "did you mean: batchroute init prompts.jsonl"),
    ("raport runs/night", "report"),
    ("export runs/night prompts.jsonl", "prompts.jsonl: is the input of the run; choose another place"),
    ("score texts.parquet --prompt prompt -o texts.parquet", "texts.parquet: is the data that is to be scored"),
    ("report runs/night --html nightly.toml", "--html nightly.toml: give a name that ends in .html"),
    ("train labels.jsonl -o nightly.toml", "nightly.toml: is there and no model; name a new directory"),
    ("train labels.jsonl -o runs/night", "runs/night: is there and no model; name a new directory"),
    ("run", "name a job file, such as nightly.toml"),
    ("run nightly.toml --set routing.threshold 0.2", "--set takes one word: --set routing.threshold=VALUE"),
    ("run nightly.toml --var DATE 2026", "--var takes one word: --var DATE=VALUE"),
    ("run nightly.toml --set max_tokens=5", "did you mean endpoints.strong.params or endpoints.weak.params?"),
    ("run nightly.toml --set timeout=5", "did you mean endpoints.strong.timeout_s"),
    ("reconcile prompts.jsonl --invoice labels.jsonl", "prompts.jsonl: not a run directory"),
    (
        "score prompts.jsonl -o s.parquet --set router.use=half.py:Half",
        'half.py:Half: names a file; write "half:Half"',
    ),
    ("score prompts.jsonl -o s.parquet --set router.use=nowhere:Half", "on PYTHONPATH, and beside the job file"),
    ("run nightly.toml --limt 3", "--limit"),
    ("run nightly.toml --limit 0", "--limit"),
    ("run nightly.toml --var DATE", "--var DATE: must be NAME=VALUE"),
    ("run nightly.toml --set strong_fraction=0.2", "did you mean routing.strong_fraction?"),
    ("run nightly.toml --set routing.strong_fraction=20", "must be 1 or less; 20 % is 0.20"),
    ("run nightly.toml --set routing.strong_fraction=20%", "must be a number; 20 % is 0.20"),
    ("run nightly.toml --set routing.strong_fraction=0,5", "must be a number; write 0.5"),
    ("run nightly.toml --set routing.threshold=15", "must be 1 or less; scores lie in [0, 1]"),
    ("run nightly.toml --set limits.ok_if_refused=5", "must be 1 or less; 5 % is 0.05"),
    ('run nightly.toml --set endpoints.weak.max_concurrency="8"', "must be a whole number; write 8"),
    ("whatif runs/night --threshold 15", "15 is no threshold: scores lie in [0, 1]"),
    ("whatif runs/night --threshold nan", "nan is no number"),
    ("whatif runs/night --threshold 0,5", "0,5 is no number; write 0.5"),
    ("whatif runs/night --strong-fraction 20", "20 is no share from 0 to 1; 20 % is 0.20"),
    ("calibrate nightly.toml --strong-fraction 20%", "20 % is 0.20"),
    ("calibrate nightly.toml --strong-fraction -1", "-1 is no share from 0 to 1"),
]


@pytest.mark.parametrize(("command", "words"), SAID, ids=[command for command, _ in SAID])
def test_a_slip_says_what_to_do(here: Path, batchroute: Command, command: str, words: str) -> None:
    before = sorted(here.rglob("*"))
    said = batchroute(*shlex.split(command.replace('"', '\\"')))
    assert said.code == 2
    assert words in said.err
    assert "Traceback" not in said.err
    assert said.out == ""
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize("place", ["runs/night", "nightly.toml", "runs/night/results", "runs/night/report.json"])
def test_a_job_file_and_what_lies_in_a_run_stand_for_the_run(here: Path, batchroute: Command, place: str) -> None:
    report = json.loads(batchroute("report", place, "--json").out)
    assert (report["name"], report["rows"]) == ("nightly", 20)
    assert "complete" in batchroute("status", place).out
    assert batchroute("whatif", place, "--threshold", 0.5).code == 0
    assert batchroute("export", place, here.parent / "out.csv").code == 0


def test_a_job_that_has_not_run_has_nothing_to_report(here: Path, tmp_path: Path, batchroute: Command) -> None:
    lines(tmp_path / "prompts.jsonl", {"prompt": "hi"})
    job = write_job(tmp_path, simulated())
    said = batchroute("report", job)
    assert said.code == 2
    assert f"its run {tmp_path / 'run'} is not there yet; to begin it: batchroute run {job}" in said.err


def test_a_percentage_in_a_job_file(tmp_path: Path, batchroute: Command) -> None:
    lines(tmp_path / "prompts.jsonl", {"prompt": "hi"})
    job = write_job(tmp_path, simulated(), {"routing": {"strong_fraction": 20}})
    said = batchroute("check", job)
    assert said.code == 2
    assert "routing.strong_fraction: must be 1 or less; 20 % is 0.20" in said.err


@pytest.mark.parametrize("key", ["api_key_env", "api_key_header", "base_url", "service_tier"])
def test_a_number_that_may_be_a_key_is_not_repeated(tmp_path: Path, batchroute: Command, key: str) -> None:
    said = batchroute("check", write_job(tmp_path, {f"endpoints.weak.{key}": "4815162342"}))
    assert said.code == 2
    assert "4815162342" not in said.err + said.out
