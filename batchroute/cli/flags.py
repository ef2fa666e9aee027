"""The flags that commands share, as one value, and what several flags are checked by."""

from __future__ import annotations

import functools
import json
import math
import os
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchroute.cli.output import setup_logging
from batchroute.cli.places import job_at
from batchroute.errors import AnsweredOtherwise, RunFault, UsageFault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from click.shell_completion import CompletionItem

    from batchroute.errors import BatchrouteError
    from batchroute.job.spec import Job
    from batchroute.store.sharded import Share


class _Completed(click.Path):
    """A path for which a shell offers those that fit, where there are some, else what it offers itself."""

    def __init__(self, fits: Callable[[Path], bool], otherwise: str) -> None:
        super().__init__(path_type=Path)
        self._fits = fits
        self._otherwise = otherwise  # "file" or "dir", as click names them

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """As click calls it."""
        from click.shell_completion import CompletionItem

        folder, begun = os.path.split(incomplete)
        there = Path(folder)
        names = sorted(entry.name for entry in there.iterdir()) if there.is_dir() else []
        shown = [name for name in names if name.startswith(begun) and (begun or not name.startswith("."))]
        found = [CompletionItem(str(there / name)) for name in shown if self._fits(there / name)]
        return found or [CompletionItem(incomplete, type=self._otherwise)]


FILE = click.Path(path_type=Path)
JOB = _Completed(lambda path: path.suffix == ".toml", "file")
RUN = _Completed(lambda path: (path / "job.toml").is_file(), "dir")


@dataclass(frozen=True, slots=True)
class Flags:
    """What changes a job from outside its file, and how much is said."""

    sets: Sequence[str]
    variables: Mapping[str, str]
    output: Path | None
    limit: int | None
    quiet: bool
    log_format: str

    def with_engine(self, engine: str | None) -> Flags:
        """With what --engine says: a name, behind which an address may follow, as in ray:10.0.0.7:6379."""
        if engine is None:
            return self
        use, _, address = engine.partition(":")
        sets = [f"engine.use={json.dumps(use)}", *([f"engine.address={json.dumps(address)}"] if address else [])]
        return replace(self, sets=(*self.sets, *sets))

    def load(self, path: Path, *, require_keys: bool) -> Job:
        """The job in `path` with these flags over it; UsageFault where it is no job file."""
        from batchroute.job.load import load_job

        return load_job(
            job_at(path),
            environ=os.environ,
            sets=self.sets,
            variables=self.variables,
            output=self.output,
            require_keys=require_keys,
        )


SHARD = click.option("--shard", metavar="I/N", help="Only share I of N of the input; auto: as a scheduler says.")
_LIMIT = click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N rows.")
_OPTIONS = (
    click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Set section.key to a TOML value."),
    click.option("--var", "variables", multiple=True, metavar="NAME=VALUE", help="Fill ${NAME} in paths."),
    click.option("--output", type=RUN, metavar="DIR", help="Use this run directory."),
    _LIMIT,
    click.option("--quiet", is_flag=True, help="Say only what went wrong, and the last line of a run."),
    click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="How to say it."),
)


def job_flags(command: Callable[..., int]) -> Callable[..., int]:
    """Gives a command the shared flags, as its argument `flags`; what it logs goes as they say."""
    return _with_flags(command, _OPTIONS)


def server_flags(command: Callable[..., int]) -> Callable[..., int]:
    """The same for a command that reads no input, of which there are no first rows."""
    return _with_flags(command, [option for option in _OPTIONS if option is not _LIMIT])


def _with_flags(command: Callable[..., int], options: Sequence[Callable[..., Any]]) -> Callable[..., int]:
    # wraps() also keeps the options that click has hung on the command so far.
    @functools.wraps(command)
    def with_flags(**values: Any) -> int:
        shared = {field: values.pop(field, None) for field in Flags.__slots__}
        setup_logging(shared["log_format"], quiet=shared["quiet"])
        shared["variables"] = pairs("--var", shared["variables"])
        try:
            return command(flags=Flags(**shared), **values)
        except AnsweredOtherwise as fault:
            raise with_advice(fault) from fault

    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(options), with_flags)


def share_named(text: str | None) -> Share | None:
    """The value of --shard."""
    if text is None:
        return None
    from batchroute.run.shards.share import parse_share

    return parse_share(text, os.environ)


def share_of(text: str) -> float:
    """The value of a flag that takes a share of rows; click says whose value is wrong."""
    plain, percent, _ = text.strip().partition("%")
    value = _number(plain)
    if percent or not 0 <= value <= 1:
        raise click.BadParameter(f"{text} is no share from 0 to 1{_meant(text if percent else value)}")
    return value


def threshold_of(text: str) -> float:
    """The value of a flag that takes a threshold."""
    from batchroute.types import HIGHEST_THRESHOLD

    value = _number(text)
    if not 0 <= value <= HIGHEST_THRESHOLD:
        raise click.BadParameter(f"{text} is no threshold: scores lie in [0, 1]")
    return value


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise click.BadParameter(f"{text} is no number{_meant(text)}") from None
    if math.isnan(value):
        raise click.BadParameter(f"{text} is no number")
    return value


def usd_of(flag: str, text: str) -> Decimal:
    """The amount that a flag says."""
    try:
        usd = Decimal(text)
    except InvalidOperation:
        usd = Decimal("NaN")  # as bad as "nan" and "inf", which Decimal does read
    if not (usd.is_finite() and usd >= 0):
        raise UsageFault(f"{flag} {text}: must be an amount of US dollars, such as 25 or 0.5")
    return usd


def _meant(value: str | float) -> str:
    """The number that may be meant, as a job file's faults say it."""
    from batchroute.job.meant import number_meant

    return number_meant(value, 1)


def with_advice(error: BatchrouteError) -> BatchrouteError:
    """The error as a command says it: with the command that takes over what stays, where that helps."""
    if not isinstance(error, AnsweredOtherwise):
        return error
    from batchroute.cli.again import command_that_reuses

    advised = command_that_reuses(error)
    return RunFault(f"{error.why}, or take over what stays into another directory:\n  {advised}")


def pairs(flag: str, texts: Sequence[str]) -> dict[str, str]:
    """The values of a repeatable NAME=VALUE flag, by name."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageFault(f"{flag} {name}: must be NAME=VALUE")
        found[name] = value
    return found
