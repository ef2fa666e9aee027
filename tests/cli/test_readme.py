"""README: short enough, no link that leads nowhere, and every command that it shows run as written.

The commands run in a fresh clone and its fresh virtual environment, whose dependencies are those of this one; the
provider is a simulated one at the address that the job file names.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from batchroute.report.build import build_report
from batchroute.simulate.behaviour import Behaviour
from servers import threaded_simulator

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "jobs").glob("*.md")), *sorted((ROOT / "tests").rglob("*.md"))]
# How the blocks begin.
DEMO, RESULTS, OWN_JOB = "python3 -m venv", ".venv/bin/python", "batchroute init"
TARGET = ".venv/bin/batchroute check jobs/pilot-demo.toml"
BILL, SHARES, COMPLETION = "batchroute report runs/first --by", "for I in 0 1", "eval"
TYPED = (DEMO, RESULTS, TARGET, OWN_JOB, BILL, SHARES, COMPLETION)
KEY = "sk-readme-0123456789"
ROWS, PILOT_ROWS = 80, 50
PRICE = "price = { input = 2, output = 10 }  # loopback has none of its own\n"


def block(beginning: str) -> list[str]:
    """The commands of the block that begins so, without comments and what only a person's own shell can take."""
    texts = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    lines = next(text for text in texts if text.startswith(beginning)).splitlines()
    commands = (line.partition("  #")[0].strip() for line in lines)
    return [command for command in commands if command and not command.startswith("export ")]


def test_every_block_is_typed() -> None:
    """But that of the test command, which is what runs this."""
    blocks = re.findall(r"^(<!-- .* -->\n)?```sh\n(.*)$", README, re.MULTILINE)
    assert [mark for mark, _ in blocks if mark] == ["<!-- the test command -->\n"]
    for mark, first in blocks:
        assert mark or first.startswith(TYPED), first


def test_it_is_short() -> None:
    assert len(README.encode()) <= 18 * 1024


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_leads_nowhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, target


class Stranger:
    """Somebody in a fresh clone, who types what README says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        own = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
        self.environment = own | {"OPENAI_API_KEY": KEY, "PATH": f"{folder}/.venv/bin:{own['PATH']}"}

    def types(self, command: str) -> str:
        said = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert said.returncode == 0, f"{command}\n{said.stdout}{said.stderr}"
        return said.stdout


@pytest.mark.timeout(600)  # one story, as each step needs what the one before it left
def test_what_it_shows_runs_as_written(tmp_path: Path) -> None:
    clone(tmp_path)
    stranger = Stranger(tmp_path)
    first_block(stranger)
    for command in block(RESULTS):
        stranger.types(command)
    assert (tmp_path / "demo.html").stat().st_size > 10_000
    check, pilot, run = block(TARGET)
    assert "pilot: at most $" in stranger.types(check)
    assert "Routing keeps" in stranger.types(pilot)
    assert "Routing keeps" in stranger.types(run)
    a_job_of_ones_own(stranger)
    the_bill(stranger)
    score, run, status = block(SHARES)
    stranger.types(score)
    stranger.types(run)
    assert "complete  320 rows" in stranger.types(status)
    the_python_example(stranger)
    (completion,) = block(COMPLETION)
    assert "_batchroute_completion ()" in stranger.types(f"{completion} && declare -f")


def clone(folder: Path) -> None:
    """All files of the repository, as they are now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def first_block(stranger: Stranger) -> None:
    """The demo; dependencies come from here instead of the index."""
    (command,) = block(DEMO)
    begin, install, run = command.split(" && ")
    stranger.types(begin)
    stranger.types(install.replace("pip install .", "pip install --quiet --no-deps ."))
    packages = stranger.types(".venv/bin/python -c 'import site; print(site.getsitepackages()[0])'").strip()
    here = [path for path in sys.path if path.endswith("-packages")]
    Path(packages, "dependencies.pth").write_text("\n".join(here) + "\n")
    assert "320 answered" in stranger.types(run)


def a_job_of_ones_own(stranger: Stranger) -> None:
    """From `init` to the export; at a provider on loopback, whose price the job then names."""
    prompts = (ROOT / "jobs" / "demo.jsonl").read_text(encoding="utf-8").splitlines()[:ROWS]
    (stranger.folder / "prompts.jsonl").write_text("\n".join(prompts) + "\n")
    with threaded_simulator(Behaviour(api_key=KEY)) as provider:
        for command in block(OWN_JOB):
            stranger.types(command)
            if "init" in command:
                job = stranger.folder / "first.toml"
                text = job.read_text().replace("https://api.openai.com/v1", provider.url)
                job.write_text(re.sub(r"^(model = .*)$", rf"\1\n{PRICE}", text, flags=re.MULTILINE))
        reused = build_report(stranger.folder / "runs" / "first").reused
        assert reused > PILOT_ROWS / 2
        assert provider.stats().requests == PILOT_ROWS + ROWS - reused
    assert (stranger.folder / "runs" / "first" / "_SUCCESS").exists()
    assert (stranger.folder / "answers.parquet").exists()


def the_bill(stranger: Stranger) -> None:
    """Two nights that are one, and an invoice that is true."""
    runs = stranger.folder / "runs"
    for night in ("monday", "tuesday"):
        shutil.copytree(runs / "first", runs / night)
    results = pl.read_parquet(runs / "first" / "results" / "*.parquet")
    days = results.group_by(pl.col("finished_at").dt.date().alias("date"), "model")
    days.agg(pl.col("cost_usd").sum()).write_csv(stranger.folder / "usage.csv")
    for command in block(BILL):
        stranger.types(command)
    assert "BilledCost" in (stranger.folder / "bill.csv").read_text()


def the_python_example(stranger: Stranger) -> None:
    found = re.search(r"<!-- the Python example -->\n```python\n(.*?)```", README, re.DOTALL)
    assert found
    (stranger.folder / "example.py").write_text(found[1])
    assert "gpt-6-luna" in stranger.types(".venv/bin/python example.py")
