"""The command as the user typed it, with what makes it run in another directory on the answers of this one."""

from __future__ import annotations

import json
import shlex
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from batchroute.job.load import MASKED
from batchroute.job.toml import parse_set
from batchroute.show.summary import short_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchroute.errors import AnsweredOtherwise

# Another directory has no refused row to ask again, and these two are what the new command says itself.
_REPLACED_FLAGS = {"output", "retry"}
_REPLACED_SETS = {"output.path", "input.reuse"}


def command_that_reuses(fault: AnsweredOtherwise) -> str:
    """The command at hand, ready for a shell, into a new directory that takes over the answers in `fault.run`."""
    context = click.get_current_context()
    runs = [short_path(run) for run in fault.reuse]
    reuse = _toml(runs[0]) if len(runs) == 1 else json.dumps(runs)
    words = ["batchroute", str(context.info_name), *_typed(context)]
    words += ["--output", short_path(str(_unused(Path(fault.run)))), "--set", f"input.reuse={reuse}"]
    return shlex.join(words)


def _typed(context: click.Context) -> Iterator[str]:
    """The arguments and flags that were given, but for those that are replaced."""
    for parameter in context.command.params:
        name = str(parameter.name)
        is_given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if not is_given or name in _REPLACED_FLAGS:
            continue
        value = context.params[name]
        for each in value if isinstance(value, tuple) else (value,):
            if name == "sets" and each.partition("=")[0].strip() in _REPLACED_SETS:
                continue
            yield from _words(parameter, name, each)


def _words(parameter: click.Parameter, name: str, value: Any) -> list[str]:
    if isinstance(parameter, click.Argument):
        return [str(value)]
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return [parameter.opts[0]]
    return [parameter.opts[0], _masked(str(value)) if name == "sets" else str(value)]


def _masked(setting: str) -> str:
    """Without what may be a secret: messages end up in log files."""
    key, _, value = setting.partition("=")
    may_be_secret = ".headers" in key or (key.strip().endswith("base_url") and "?" in value)
    return f"{key}={MASKED}" if may_be_secret else setting


def _unused(run: Path) -> Path:
    """The first of run-2, run-3 ... that is not there."""
    return next(path for number in count(2) if not (path := run.with_name(f"{run.name}-{number}")).exists())


def _toml(text: str) -> str:
    """As --set takes it for a text."""
    return text if parse_set(f"k={text}") == (("k",), text) else json.dumps(text)
