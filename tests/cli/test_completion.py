"""Shell completion: click's own, which offers job files and run directories where there are some."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest
from click.shell_completion import ShellComplete

from batchroute.cli import cli

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a.toml", "b.toml", "data.jsonl", ".hidden.toml", "jobs/c.toml", "runs/one/job.toml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "runs" / "no run").mkdir()
    return tmp_path


def offered(words: str, incomplete: str) -> list[tuple[str, str]]:
    complete = ShellComplete(cli, {}, "batchroute", "_BATCHROUTE_COMPLETE")
    return [(item.type, item.value) for item in complete.get_completions(words.split(), incomplete)]


@pytest.mark.parametrize(
    ("words", "incomplete", "wanted"),
    [
        ("run", "", ["a.toml", "b.toml"]),
        ("check a.toml", "", ["a.toml", "b.toml"]),
        ("show", "jobs/", ["jobs/c.toml"]),
        ("serve", "b", ["b.toml"]),
        ("plan", ".", [".hidden.toml"]),
        ("report", "runs/", ["runs/one"]),
        ("whatif", "runs/o", ["runs/one"]),
        ("run a.toml --output", "runs/", ["runs/one"]),
    ],
)
def test_what_fits_is_offered(words: str, incomplete: str, wanted: list[str]) -> None:
    assert offered(words, incomplete) == [("plain", name) for name in wanted]


@pytest.mark.parametrize(
    ("words", "incomplete", "kind"),
    [
        ("run", "runs/", "file"),
        ("run", "no/such/", "file"),
        ("report", "", "dir"),
        ("export runs/one", "", "file"),
    ],
)
def test_where_nothing_fits_the_shell_offers_what_it_does(words: str, incomplete: str, kind: str) -> None:
    assert offered(words, incomplete) == [(kind, incomplete)]


def test_commands_are_offered_in_the_order_of_the_help() -> None:
    names = [name for _, name in offered("", "")]
    assert names == cli.list_commands(click.Context(cli))


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_with_what_the_command_prints(folder: Path) -> None:
    program = folder / "batchroute"
    program.write_text(f"#!{sys.executable}\nfrom batchroute.cli import main\n\nmain()\n")
    program.chmod(0o755)
    script = f"""
        PATH={folder}:$PATH
        eval "$(_BATCHROUTE_COMPLETE=bash_source batchroute)"
        COMP_WORDS=(batchroute run jobs/) COMP_CWORD=2
        _batchroute_completion batchroute
        echo "found: $COMPREPLY"
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("found: jobs/c.toml\n", "")
