"""What `--help` says: every command with examples that parse and its exit codes, nothing cut, 80 columns held."""

from __future__ import annotations

import shlex

import click
import pytest
from click.testing import CliRunner

from batchroute.cli import cli
from batchroute.cli.help import Command, Commands
from batchroute.simulate.faults import ERRORS, FAULTS

COMMANDS = sorted(cli.commands)
assert isinstance(cli, Commands)
COLUMNS = 80


def help_of(*words: str, columns: int = COLUMNS) -> str:
    return CliRunner().invoke(cli, [*words, "--help"], terminal_width=columns).output


@pytest.mark.parametrize("columns", [80, 100])
def test_no_commands_line_is_cut(columns: int) -> None:
    said = help_of(columns=columns).splitlines()
    lines = {name: [line for line in said if line.startswith(f"  {name} ")] for name in COMMANDS}
    assert [name for name, found in lines.items() if len(found) != 1 or not found[0].endswith(".")] == []
    assert [found for found in lines.values() if found[0].endswith("...")] == []
    assert len({line.index(line.split(maxsplit=1)[1]) for [line] in lines.values()}) == 1, "they are aligned"


def test_the_commands_stand_under_what_people_do() -> None:
    said = help_of()
    headings = [said.index(f"\n{heading}:\n") for heading in cli.sections]
    assert headings == sorted(headings)
    assert sum(map(len, cli.sections.values())) == len(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples_that_parse_and_its_exit_codes(name: str) -> None:
    command = cli.commands[name]
    assert isinstance(command, Command), f"{name}: write @command(EXAMPLE, EXAMPLE, exits=(...)) of cli/help"
    assert len(command.examples) >= 2, f"{name}: give it two examples"
    said = help_of(name)
    examples, _, codes = said.partition("\nExamples:\n")[2].partition("\nExit codes:\n")
    assert [line.strip() for line in examples.splitlines() if line] == list(command.examples)
    assert [int(line.split()[0]) for line in codes.splitlines() if line] == list(command.exits)
    for example in command.examples:
        program, named, *words = shlex.split(example.partition(" > ")[0])
        assert (program, named) == ("batchroute", name)
        try:
            command.make_context(name, words, parent=click.Context(cli))
        except click.ClickException as fault:
            pytest.fail(f"{example}: {fault.message}")


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_eighty_columns_hold_it_and_options_are_aligned(name: str) -> None:
    said = help_of(*filter(None, [name])).splitlines()
    assert [line for line in said if len(line) > COLUMNS] == []
    options = said[said.index(next(line for line in said if line.endswith(":") and line[0] != " ")) :]
    beside = [line for line in options if line.startswith("  -") and "  " in line[2:].strip()]
    assert len({len(line) - len(line[2:].split("  ", 1)[1].lstrip()) for line in beside}) == 1


def test_options_stand_in_groups() -> None:
    said = help_of("run")
    headings = [line for line in said.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == ["Job:", "Input:", "Output:", "Other options:", "Examples:", "Exit codes:"]
    assert help_of("demo").count("ptions:") == 1, "few options need no groups"


def test_simulates_help_names_every_fault() -> None:
    words = help_of("simulate").replace(",", " ").replace(".", " ").split()
    assert [name for name in (*FAULTS, *ERRORS) if name not in words] == []


def test_a_server_reads_no_rows_and_takes_no_limit_of_them() -> None:
    assert "--limit" in help_of("run")
    assert "--limit" not in help_of("serve")
