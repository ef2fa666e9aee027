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
from typing import TYPE_CHECKING

import polars as pl
import pytest

from batchroute.report.build import build_report
from batchroute.simulate.behaviour import Behaviour
from servers import threaded_simulator

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "jobs").glob("*.md")), *sorted((ROOT / "tests").rglob("*.md"))]
KEY = "sk-readme-0123456789"
ROWS, PILOT_ROWS = 80, 50
PRICE = "price = { input = 2, output = 10 }  # loopback has none of its own\n"


def shell_blocks() -> list[list[str]]:
    """The commands of each block, without comments and what only a person's own shell can take."""
    found = re.findall(r"^(<!-- .* -->\n)?```sh\n(.*?)```", README, re.DOTALL | re.MULTILINE)
    blocks = [[line.partition("  #")[0].strip() for line in text.splitlines()] for mark, text in found if not mark]
    return [[line for line in block if line and not line.startswith("export ")] for block in blocks]


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


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Stranger:
    """All files of the repository, as they are now."""
    folder = tmp_path_factory.mktemp("clone")
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
    return Stranger(folder)


@pytest.fixture(scope="module")
def tried(stranger: Stranger) -> Stranger:
    """The first block of README has been typed; the dependencies come from here instead of the index."""
    (command,), *_ = (block for block in shell_blocks() if "pip install ." in block[0])
    begin, install, run = command.split(" && ")
    stranger.types(begin)
    stranger.types(install.replace("pip install .", "pip install --quiet --no-deps ."))
    packages = stranger.types(".venv/bin/python -c 'import site; print(site.getsitepackages()[0])'").strip()
    here = [path for path in sys.path if path.endswith("-packages")]
    Path(packages, "dependencies.pth").write_text("\n".join(here) + "\n")
    assert "320 answered" in stranger.types(run)
    return stranger


def test_what_is_shown_after_the_demo(tried: Stranger) -> None:
    (commands,) = (block for block in shell_blocks() if block[0].startswith(".venv/bin/python"))
    said = [tried.types(command) for command in commands]
    assert "gpt-6-luna" in said[0]
    assert (tried.folder / "demo.html").stat().st_size > 10_000


@pytest.fixture(scope="module")
def answered(tried: Stranger) -> Iterator[Stranger]:
    """A job of one's own, from `init` to the export; at a provider on loopback, whose price the job then names."""
    prompts = (ROOT / "jobs" / "demo.jsonl").read_text(encoding="utf-8").splitlines()[:ROWS]
    (tried.folder / "prompts.jsonl").write_text("\n".join(prompts) + "\n")
    (commands,) = (block for block in shell_blocks() if block[0].startswith("batchroute init"))
    with threaded_simulator(Behaviour(api_key=KEY)) as provider:
        for command in commands:
            tried.types(command)
            if "init" in command:
                job = tried.folder / "first.toml"
                text = job.read_text().replace("https://api.openai.com/v1", provider.url)
                job.write_text(re.sub(r"^(model = .*)$", rf"\1\n{PRICE}", text, flags=re.MULTILINE))
        reused = build_report(tried.folder / "runs" / "first").reused
        assert reused > PILOT_ROWS / 2
        assert provider.stats().requests == PILOT_ROWS + ROWS - reused
        yield tried


def test_a_file_of_ones_own(answered: Stranger) -> None:
    assert (answered.folder / "runs" / "first" / "_SUCCESS").exists()
    assert (answered.folder / "answers.parquet").exists()


def test_the_bill(answered: Stranger) -> None:
    runs = answered.folder / "runs"
    for night in ("monday", "tuesday"):
        shutil.copytree(runs / "first", runs / night)
    results = pl.read_parquet(runs / "first" / "results" / "*.parquet")
    days = results.group_by(pl.col("finished_at").dt.date().alias("date"), "model")
    days.agg(pl.col("cost_usd").sum()).write_csv(answered.folder / "usage.csv")
    (commands,) = (block for block in shell_blocks() if block[0].startswith("batchroute report runs/first --by"))
    for command in commands:
        answered.types(command)
    assert "BilledCost" in (answered.folder / "bill.csv").read_text()


def test_the_python_example(tried: Stranger) -> None:
    found = re.search(r"<!-- the Python example -->\n```python\n(.*?)```", README, re.DOTALL)
    assert found
    (tried.folder / "example.py").write_text(found[1])
    assert "gpt-6-luna" in tried.types(".venv/bin/python example.py")


def test_completion(tried: Stranger) -> None:
    (command,) = next(block for block in shell_blocks() if block[0].startswith("eval"))
    assert "_batchroute_completion ()" in tried.types(f"{command} && declare -f")
