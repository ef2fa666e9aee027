"""jobs/custom_router.py: the example of a router of one's own runs as a job and stands in an evaluation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from labelled import outcomes, save

JOBS = Path(__file__).parents[2] / "jobs"


def batchroute(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from batchroute.cli import main; main()", *map(str, arguments)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=cwd, env=environ)


def test_the_example_routes_a_job(tmp_path: Path) -> None:
    flags = ("--output", tmp_path / "run", "--limit", 40, "--json")
    report = json.loads(batchroute("run", JOBS / "custom-router.toml", *flags, cwd=tmp_path).stdout)
    assert (report["state"], report["rows"], report["ok"]) == ("complete", 40, 40)
    assert report["strong_rows"] == 10
    assert 'use = "custom_router:Keywords"' in (tmp_path / "run" / "job.toml").read_text()


def test_the_example_is_evaluated_by_its_path(tmp_path: Path) -> None:
    file = save(outcomes(), tmp_path / "labels.jsonl")
    said = batchroute("evaluate", file, "--router", "custom_router:Keywords", "--json", cwd=JOBS)
    figures = json.loads(said.stdout)["routers"]["custom_router:Keywords"]
    assert figures["apgr"] > 0.7  # it looks for "prove" and "derive"
