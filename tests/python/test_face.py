"""What `import batchroute` is: light, listed, typed for those who write programs with it."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import batchroute as br

HEAVY = ("torch", "polars", "pyarrow", "aiohttp", "pydantic", "numpy", "msgspec", "rich", "pandas")
ROOT = Path(__file__).parents[2]
COMMANDS = {"run", "check", "plan", "score", "calibrate", "report", "whatif", "export", "train", "evaluate"}
# A program of a user, checked as strictly as mypy can; the last line is wrong, so that the check is seen to work.
PROGRAM = """
import asyncio
from pathlib import Path
import batchroute as br
import polars as pl

def night(frame: pl.DataFrame) -> float | None:
    job: br.Job = br.load_job("x.toml", settings={"limits.drain_s": 5}, variables={"DATE": "1"}, output=Path("x"))
    planned: br.Plan = br.plan(job, limit=10)
    run: br.Run = br.run(job, limit=10, progress=False)
    run = br.run(frame, prompt="text", strong="a", weak={"model": "b", "api": "responses"}, strong_fraction=0.1)
    run = br.run(["a", "b"], strong="a", weak="b", threshold=0.5, simulate=True)
    run = br.run([{"text": "a"}], prompt="text", strong="a", weak="b", budget_usd=1, params={"max_tokens": 5})
    run = asyncio.run(br.arun(frame.lazy(), prompt="text", strong="a", weak="b", strong_fraction=0.1))
    answers: pl.DataFrame = run.df()
    report: br.Report = br.report(run.path)
    with br.simulate(latency_s=0.1) as provider, br.serve("x.toml", port=0) as server:
        print(provider.url, server.base_url, planned.cost_usd, answers.height, report.ok)
    print(br.whatif(run.path, threshold=0.5).delta_usd, br.calibrate("x.toml", strong_fraction=0.1).threshold)
    print(br.check("x.toml").faults, br.score(frame, prompt="text").height, br.evaluate("x").verdict)
    print(br.train(["x"], "model").models, br.export("runs/x", "out.csv"), br.report_by("topic", "runs/x").lines)
    return run.cost_usd

br.run("x.toml", promt="text")
"""


def test_it_imports_nothing_heavy_and_lists_its_names() -> None:
    code = f"import sys, batchroute; print(*[m for m in {HEAVY!r} if m in sys.modules]); print(*dir(batchroute))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded, names = said.splitlines()
    assert loaded == ""
    assert names.split() == sorted(br.__all__)
    assert set(names.split()) >= COMMANDS | {"Controller", "Job", "Run", "arun", "load_job", "serve", "simulate"}


def test_every_function_says_how_it_is_called() -> None:
    functions: list[Any] = [getattr(br, name) for name in br.__all__ if inspect.isroutine(getattr(br, name))]
    assert len(functions) > len(COMMANDS)
    for function in functions:
        assert function.__doc__, function
        assert "br." in function.__doc__, f"{function.__name__} has no example"


def test_a_strict_program_of_a_users_is_checked(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    # With the settings of the repository's own check, whose cache makes this a matter of seconds.
    command = [sys.executable, "-m", "mypy", "--strict", str(program)]
    said = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False).stdout
    wrong = PROGRAM.splitlines().index('br.run("x.toml", promt="text")') + 1
    found = [line for line in said.splitlines() if "program.py" in line and ": error: " in line]
    assert len(found) == 1, said
    assert f'program.py:{wrong}: error: Unexpected keyword argument "promt"' in found[0]


@pytest.mark.parametrize("name", br.__all__)
def test_no_name_is_hidden_by_a_room(name: str) -> None:
    for room in ("report.build", "run.plan", "score.router", "serve.server", "simulate.server"):
        importlib.import_module(f"batchroute.{room}")  # Python puts the room where the function is looked for
    assert not inspect.ismodule(getattr(br, name))
