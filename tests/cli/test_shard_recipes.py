"""What jobs/ has for schedulers: tried as they start it, as far as there is none here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from batchroute.report.figures import read_report
from inputs import lines
from jobs import simulated, write_job

JOBS = Path(__file__).parents[2] / "jobs"
INDEXED = (JOBS / "kubernetes-indexed-job.yaml").read_text(encoding="utf-8")
OURS = {"OPENAI_API_KEY_FILE": "/nowhere", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@pytest.mark.parametrize("script", ["slurm-array.sh", "parallel.sh"])
def test_scripts_are_bash(script: str) -> None:
    subprocess.run(["bash", "-n", JOBS / script], check=True)
    assert os.access(JOBS / script, os.X_OK)


def test_the_indexed_job_says_its_number_of_pods_once_more() -> None:
    completions, parallelism, shards = (
        re.findall(pattern, INDEXED)
        for pattern in (r"completions: (\d+)", r"parallelism: (\d+)", r'BATCHROUTE_SHARDS\n\s+value: "(\d+)"')
    )
    assert completions == parallelism == shards == ["16"]


def test_the_line_that_scores_first_makes_another_job_of_it() -> None:
    [script] = re.findall(r"sed '(.*)' kubernetes", INDEXED)
    made = subprocess.run(["sed", script], input=INDEXED, capture_output=True, text=True, check=True).stdout
    assert "\n  name: score-shards\n" in made
    assert "command: [batchroute, score, /etc/sharded/job.toml, --shard, auto," in made


def test_the_tasks_of_a_slurm_array_are_one_run(tmp_path: Path) -> None:
    lines(tmp_path / "prompts.jsonl", *({"prompt": "x" * row} for row in range(1, 41)))
    job = write_job(tmp_path, simulated(), {"routing.threshold": None, "routing.strong_fraction": 0.5})
    for command in ("score", "run"):
        tasks = [
            subprocess.Popen(
                ["bash", JOBS / "slurm-array.sh", command, job],
                env={**os.environ, **OURS, **array_task(number, of=2)},
                stderr=subprocess.PIPE,
                text=True,
            )
            for number in range(2)
        ]
        said = [task.communicate(timeout=60)[1] for task in tasks]
        assert [task.returncode for task in tasks] == [0, 0], said
    report = read_report(tmp_path / "run")
    assert report is not None
    assert (report.state, report.rows, report.strong_rows) == ("complete", 40, 20)


def array_task(number: int, of: int) -> dict[str, str]:
    """What Slurm sets for a task of `--array=5-...`."""
    names = {"ARRAY_JOB_ID": 7, "ARRAY_TASK_ID": 5 + number, "ARRAY_TASK_MIN": 5, "ARRAY_TASK_COUNT": of}
    return {f"SLURM_{name}": str(value) for name, value in names.items()}
