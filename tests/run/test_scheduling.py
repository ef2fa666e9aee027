"""A night as a scheduler has it: the cron line of jobs/README.md in cron's bare environment, and its sensor."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchroute.report.build import build_report
from batchroute.report.figures import write_report
from batchroute.simulate.behaviour import Behaviour
from inputs import lines
from runs import ok, refused, write_run
from servers import threaded_simulator

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
JOB = """
[input]
path = "prompts/${DATE}.jsonl"
[output]
path = "runs/${DATE}"
[router]
use = "length"
[routing]
threshold = 0.5
[endpoints.strong]
model = "big"
base_url = "URL"
api_key_env = "OPENAI_API_KEY"
[endpoints.weak]
model = "small"
base_url = "URL"
api_key_env = "OPENAI_API_KEY"
[limits]
ok_if_refused = 0.1
"""
KEY = "sk-night-0123456789"


def block(name: str) -> str:
    """The code in jobs/README.md behind a comment of this name."""
    readme = (ROOT / "jobs" / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"<!-- {name} -->\n```\w+\n(.*?)```", readme, re.DOTALL)
    assert found, name
    return found[1]


@pytest.fixture
def night_is_done() -> Callable[[str], bool]:
    names: dict[str, Any] = {}
    exec(block("the sensor"), names)  # noqa: S102 - the README's own
    sensor: Callable[[str], bool] = names["night_is_done"]
    return sensor


def cron(folder: Path) -> subprocess.CompletedProcess[str]:
    """What cron does with the line: five fields off, `\\%` is `%`, a shell and hardly any environment."""
    command = block("the cron line").strip().split(maxsplit=5)[5].replace("\\%", "%")
    command = command.replace("/srv/nightly", str(folder)).replace("/etc/secrets/openai", str(folder / "key"))
    environment = ["env", "-i", f"HOME={folder}", "PATH=/usr/bin:/bin", "SHELL=/bin/sh"]
    return subprocess.run([*environment, "sh", "-c", command], capture_output=True, text=True, check=False)


def test_the_cron_line_of_the_readme_runs_a_night_and_its_sensor_sees_it(
    tmp_path: Path, night_is_done: Callable[[str], bool]
) -> None:
    today = datetime.now().astimezone().strftime("%Y-%m-%d")
    (tmp_path / "prompts").mkdir()
    lines(tmp_path / "prompts" / f"{today}.jsonl", *({"prompt": f"question {n}"} for n in range(20)), "{torn")
    (tmp_path / "key").write_text(KEY + "\n")
    start = tmp_path / ".venv" / "bin" / "batchroute"
    start.parent.mkdir(parents=True)
    start.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from batchroute.cli import main\nmain()\n"
    )
    start.chmod(0o755)
    run = tmp_path / "runs" / today
    assert night_is_done(str(run)) is False
    with threaded_simulator(Behaviour(api_key=KEY)) as provider:
        (tmp_path / "nightly.toml").write_text(JOB.replace("URL", provider.url))
        first = cron(tmp_path)
        assert (first.returncode, first.stdout, first.stderr) == (0, "", ""), (tmp_path / "night.log").read_text()
        assert provider.stats().requests == 20
        assert night_is_done(str(run)) is True
        assert (run / "_SUCCESS").exists()
        assert cron(tmp_path).returncode == 0
        assert provider.stats().requests == 20, "a night that is complete costs nothing more"
    assert KEY not in (tmp_path / "night.log").read_text()


def test_the_sensor_tells_all_states_apart(tmp_path: Path, night_is_done: Callable[[str], bool]) -> None:
    run = write_run(tmp_path / "run", [[ok(0)]], rows=2)
    assert night_is_done(str(run)) is False
    write_report(run, build_report(run, state="running"))
    assert night_is_done(str(run)) is False
    write_report(run, build_report(run))
    with pytest.raises(RuntimeError, match="stopped early"):
        night_is_done(str(run))
    complete = write_run(tmp_path / "complete", [[ok(0)]], rows=1)
    write_report(complete, build_report(complete))
    assert night_is_done(str(complete)) is True
    refusals = write_run(tmp_path / "refusals", [[ok(0), refused(1)]], rows=2)
    write_report(refusals, build_report(refusals))
    with pytest.raises(RuntimeError, match="too many were refused"):
        night_is_done(str(refusals))
