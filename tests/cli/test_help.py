from __future__ import annotations

import pytest
from click.testing import CliRunner

from batchroute.cli import cli
from batchroute.simulate.faults import ERRORS, FAULTS


@pytest.mark.parametrize("columns", [80, 100])
def test_no_commands_line_is_cut(columns: int) -> None:
    said = CliRunner().invoke(cli, ["--help"], terminal_width=columns)
    commands = said.output.partition("Commands:")[2].strip().splitlines()
    assert len(commands) == len(cli.commands)
    assert [line for line in commands if not line.endswith(".") or line.endswith("...")] == []


def test_simulates_help_names_every_fault() -> None:
    words = CliRunner().invoke(cli, ["simulate", "--help"]).output.replace(",", " ").replace(".", " ").split()
    assert [name for name in (*FAULTS, *ERRORS) if name not in words] == []
