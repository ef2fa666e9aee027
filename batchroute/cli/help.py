"""What `--help` looks like: commands by what people do, options in groups, examples, exit codes.

Knows how click lays out help, and which group an option's name belongs to; the commands bring the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PROGRAM = "batchroute"
_FEW = 4  # so many options stand together under one heading
_FIRST_COLUMN = 30  # a longer name has its words on the next line
_OTHER = "Other options"
# By the names of their parameters; what is nowhere here goes with _OTHER.
_GROUPS = {
    "Job": "sets variables retry online provider shard engine",
    "Input": "limit prompt rows invoice columns dates within",
    "Routing": "threshold strong_fraction budget_usd strong weak routers models device",
    "Output": "output out job_file force format exact focus tag account as_json markdown by top table html "
    "samples plot licence quiet log_format",
    "Server": "host port api_key_env allow_hosts state",
    "Answers": "latency_s jitter_s chunk_s response_tokens reasoning_tokens media_tokens",
    "Limits": "batch_share max_disk_mb requests_per_minute tokens_per_minute max_concurrency retry_after_s",
    "Faults": "faults poison busy tier_answer busy_error refuse",
}
_GROUP_OF = {name: group for group, names in _GROUPS.items() for name in names.split()}
# The same for every command; a code that it cannot end with is not among its own.
_EXITS = {
    0: "done",
    1: "a bug of ours: a traceback; what was paid for is safe",
    2: "bad usage, job file, data or model: one message, and nothing was sent",
    3: "finished, but rows were refused or failed, or lines differ: see the list",
    4: "stopped early by something outside; run it again to go on",
    130: "stopped by Ctrl-C (143: by SIGTERM); answers in flight were kept",
}


class Command(click.Command):
    """A command with examples, each without the program's name, and the exit codes it can end with."""

    def __init__(self, *given: Any, examples: Sequence[str], exits: Sequence[int], **settings: Any) -> None:
        super().__init__(*given, **settings)
        self.examples = tuple(f"{PROGRAM} {example}" for example in examples)
        self.exits = tuple(sorted({0, 1, 2, *exits}))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click calls it."""
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        few = len(options) <= _FEW
        groups: dict[str, list[tuple[str, str]]] = {group: [] for group in ("Options", *_GROUPS, _OTHER)}
        for option in options:
            record = option.get_help_record(ctx)
            if record is not None:
                groups["Options" if few else _GROUP_OF.get(str(option.name), _OTHER)].append(record)
        _write(formatter, groups)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click calls it, after the options."""
        with formatter.section("Examples"):
            formatter.write("".join(f"{' ' * formatter.current_indent}{example}\n" for example in self.examples))
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), _EXITS[code]) for code in self.exits])


class Commands(click.Group):
    """The program: its commands, by what people do."""

    def __init__(self, *given: Any, sections: Mapping[str, Sequence[click.Command]], **settings: Any) -> None:
        super().__init__(*given, **settings)
        self.sections = {heading: [str(each.name) for each in commands] for heading, commands in sections.items()}
        for each in (each for commands in sections.values() for each in commands):
            self.add_command(each)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the sections, also where a shell completes."""
        return [name for names in self.sections.values() for name in names]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click calls it."""

        def row(name: str) -> tuple[str, str]:
            return name, self.commands[name].get_short_help_str(formatter.width)

        _write(formatter, {heading: list(map(row, names)) for heading, names in self.sections.items()})


def command(*examples: str, exits: Sequence[int] = ()) -> Callable[[Callable[..., int]], Command]:
    """A command of the program; `exits` are codes it can end with beside 0, 1 and 2."""
    return click.command(cls=Command, examples=examples, exits=exits)


def _write(formatter: click.HelpFormatter, groups: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    """Lists below headings, all of them aligned; a group without anything has no heading."""
    longest = max(len(name) for rows in groups.values() for name, _ in rows)
    width = min(longest, _FIRST_COLUMN)
    for heading, rows in groups.items():
        if rows:
            with formatter.section(heading):
                formatter.write_dl([(f"{name:{width}}", words) for name, words in rows], col_max=_FIRST_COLUMN)
