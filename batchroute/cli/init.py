"""The command that writes a first job file: init. Knows whose recipes have the endpoints, and where it writes."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchroute.cli.flags import FILE
from batchroute.cli.help import command
from batchroute.cli.output import log
from batchroute.cli.places import refuse_no_prompts
from batchroute.cli.recipes import recipe
from batchroute.errors import UsageFault
from batchroute.show.words import harmless

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchroute.run.propose.columns import Proposal

# Whose endpoints they have; the first whose key is set in the environment is proposed, else the first of all.
RECIPES = {
    "openai": "openai-nightly",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "groq": "groq",
    "openrouter": "openrouter",
    "deepseek": "deepseek",
    "azure": "azure",
    "local": "local-pair",
}
_MAX_COST_USD = 10.0


@command("init prompts.jsonl", 'init "data/*.parquet" --provider anthropic -o job.toml', exits=(4,))
@click.argument("data", metavar="[DATA]", required=False)
@click.option("-o", "job_file", type=FILE, metavar="JOB", help="The job file; else named after DATA, or job.toml.")
@click.option("--prompt", metavar="COLUMN", help="The column to ask, of text or of chat messages.")
@click.option("--provider", type=click.Choice([*RECIPES]), help="Else the one whose key is set, or openai.")
@click.option("--force", is_flag=True, help="Overwrite the job file.")
def init(data: str | None, job_file: Path | None, prompt: str | None, provider: str | None, force: bool) -> int:
    """Write a job file for some data, to go on from.

    Looks at the first rows of DATA (a file, a glob, a directory, s3://...) and proposes what to ask, what to keep,
    two models at today's prices, and limits. Without DATA it is left open what to ask. Asks no questions, sends
    nothing.
    """
    from batchroute.run.propose.columns import propose
    from batchroute.run.propose.jobfile import SKELETON_PATH, write_draft
    from batchroute.run.propose.sample import read_sample
    from batchroute.store.files import AS_UMASK_SAYS, refuse_homeless, saving, write_whole

    if data is not None:
        refuse_no_prompts(Path(data))
    if prompt is not None and data is None:
        raise UsageFault("--prompt names a column of DATA; name that, too")
    path = Path(f"{_stem(data)}.toml") if job_file is None else job_file
    refuse_homeless(path)
    if path.is_dir():
        raise UsageFault(f"{path}: is a directory; -o JOB names a file")
    if path.exists() and not force:
        raise UsageFault(f"{path}: is there already; --force overwrites it, -o JOB names another")
    proposal = None if data is None else propose(read_sample(_absolute(data)), prompt)
    provider = provider or _with_key(os.environ)
    text = write_draft(
        path=SKELETON_PATH if data is None else _seen_from(path, data),
        output=_output(path, data),
        proposal=proposal,
        recipe=recipe(RECIPES[provider]).read_text(encoding="utf-8"),
        head=_head(path, data, provider),
        max_cost_usd=_MAX_COST_USD,
    )
    with saving(path):
        write_whole(path, text.encode(), mode=AS_UMASK_SAYS)
    _say(path, proposal, provider)
    return 0


def _absolute(data: str) -> str:
    """As an input.path of the job will be read; UsageFault for a name that no job file can hold."""
    try:
        data.encode()
    except UnicodeEncodeError as fault:
        raise UsageFault("the name of DATA is not UTF-8, as a job file is; rename it") from fault
    if "${" in data:
        raise UsageFault(f"{data}: ${{...}} stands for a variable in a job file; rename it")
    return data if "://" in data else os.path.abspath(data)  # noqa: PTH100 - a glob is no path yet


def _seen_from(job_file: Path, data: str) -> str:
    """The data's path as one below the job's folder, else whole: a job file may move with what lies beside it."""
    folder, whole = f"{job_file.absolute().parent}{os.sep}", _absolute(data)
    return whole.removeprefix(folder) if whole != folder else whole


def _output(job_file: Path, data: str | None) -> str:
    """In runs/ beside the job file; beside the data's folder where the job file lies in it."""
    folder, name = job_file.absolute().parent, f"runs/{_stem(job_file.name)}"
    inside = None if data is None or "://" in data else Path(_absolute(data))
    if inside is not None and inside.is_dir() and folder.is_relative_to(inside):
        return str(inside.parent / name)
    return name


def _stem(name: str | None) -> str:
    """The first part of a name that a file and a folder may have."""
    last = re.split(r"[/\\]", (name or "").rstrip("/\\"))[-1]
    return re.sub(r"[^\w-]+", "-", last.partition(".")[0], flags=re.ASCII).strip("-") or "job"


def key_variable(provider: str) -> str | None:
    import tomllib

    endpoints = tomllib.loads(recipe(RECIPES[provider]).read_text(encoding="utf-8"))["endpoints"]
    name: str | None = endpoints["strong"].get("api_key_env")
    return name


def _is_set(variable: str | None, environ: Mapping[str, str]) -> bool:
    return variable is not None and bool(environ.get(variable) or environ.get(f"{variable}_FILE"))


def _with_key(environ: Mapping[str, str]) -> str:
    """The first provider whose key is set, else the first of all."""
    return next((name for name in RECIPES if _is_set(key_variable(name), environ)), next(iter(RECIPES)))


def _commands(path: Path, provider: str) -> list[tuple[str, str]]:
    """What to do with the job, in order, and what for."""
    key, name = key_variable(provider), shlex.quote(str(path))
    return [
        *([] if key is None or _is_set(key, os.environ) else [(f"export {key}=...", "the provider's key")]),
        (f"batchroute check {name}", "every fault at once; sends nothing"),
        (f"batchroute show {name}", "the first requests as they would be sent"),
        (f"batchroute plan {name}", "what it will cost"),
        (f"batchroute run {name}", "again after any interruption"),
    ]


def _head(path: Path, data: str | None, provider: str) -> list[str]:
    what = "A job to fill in" if data is None else f"A job for {data}"
    commands = _commands(path, provider)
    width = max(len(command) for command, _ in commands)
    return [
        f"{what}, as `batchroute init` proposes it. `batchroute settings` lists all that can stand here.",
        "",
        *(f"  {command:{width}}  {why}" for command, why in commands),
    ]


def _say(path: Path, proposal: Proposal | None, provider: str) -> None:
    asked = "" if proposal is None else f"asks {proposal.asks} = {proposal.value!r} of "
    log.info(f"{path}: {asked}two models of {provider}; --prompt and --provider choose others")
    for note in () if proposal is None else proposal.notes:
        log.info(note)
    fill_in = [] if proposal is not None else ["fill in input.path and what to ask, then:"]
    commands = _commands(path, provider)
    width = max(len(command) for command, _ in commands)
    lines = ["", "Next:", *fill_in, *(f"  {command:{width}}  {why}" for command, why in commands)]
    click.echo(harmless("\n".join(lines)))
