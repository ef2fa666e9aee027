"""What a path is that a command was given, and what was meant where it is something else than the command takes.

A job file names its run directory, so what looks at a run takes a job file, too. All else is refused in words that
name the command which does take it. Looks at names and the beginnings of small files; reads no data.
"""

from __future__ import annotations

import os
import shlex
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import click

from batchroute.cli.output import log
from batchroute.errors import RunFault, UsageFault
from batchroute.input.names import near_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Kind: TypeAlias = Literal["job", "run", "data", "model", "folder", "file", "missing"]

_DATA = {".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv"}
_PACKED = {".gz", ".zst"}
_MODEL = {".safetensors", ".pt"}
_MODEL_FILES = ("model.safetensors", "pytorch_model.bin")
_MOST_NAMED = 3


def kind_of(path: Path) -> Kind:
    """By its name, and of a directory by what lies in it."""
    if path.is_dir():
        return _kind_of_folder(path)
    if not path.exists():
        return "missing"
    suffix = path.with_suffix("").suffix if path.suffix in _PACKED else path.suffix
    kinds: dict[str, Kind] = {".toml": "job", **dict.fromkeys(_DATA, "data"), **dict.fromkeys(_MODEL, "model")}
    return kinds.get(suffix.lower(), "file")


def _kind_of_folder(path: Path) -> Kind:
    job = path / "job.toml"
    # A job file of that name may lie in any folder; that of a run has a table that no user writes.
    try:
        if job.is_file() and "\n[batchroute]" in job.read_text(encoding="utf-8", errors="replace"):
            return "run"
    except PermissionError:
        return "run"  # most likely another user's; whatever reads more of it says that it may not
    return "model" if any((path / name).is_file() for name in _MODEL_FILES) else "folder"


def job_at(path: Path) -> Path:
    """The job file `path`; UsageFault where it is something else, with what to do with that."""
    words: dict[Kind, Callable[[Path], str]] = {
        "run": _run_for_job,
        "data": lambda data: f"{data} is data, not a job file; to write one: batchroute init {_quoted(data)}",
        "model": lambda model: f"{model} is a router's model, not a job file; a job names it as router.model",
        "folder": _folder_for_job,
        "missing": lambda missing: f"{missing}: there is no such job file{_near(missing, 'job')}",
    }
    kind = kind_of(path)
    if kind in words:
        raise UsageFault(words[kind](path))
    return path


def run_at(path: Path) -> Path:
    """The run directory `path`, or that of the job file `path`, or that which `path` lies in.

    UsageFault where there is none, with what may be meant.
    """
    kind = kind_of(path)
    if kind == "run":
        return path
    for parent in path.parents[:2]:
        if kind != "missing" and kind_of(parent) == "run":
            log.info(f"run {parent}")
            return parent
    if kind == "job":
        return _run_of_job(path)
    if kind == "folder" and (runs := [entry for entry in sorted(path.iterdir()) if kind_of(entry) == "run"]):
        raise RunFault(f"{path}: not a run directory, but it holds {_listed(runs)}; name one of them")
    near = _near(path, "run") if kind == "missing" else ""
    advice = near or "; name what output.path of the job names"
    raise RunFault(f"{path}: not a run directory (it has no job.toml){advice}")


def data_at(path: Path) -> Path:
    """The data `path`; UsageFault where it is a run directory or a model."""
    kind = kind_of(path)
    if kind == "run":
        other = f"batchroute whatif {_quoted(path)} --strong-fraction F"
        raise UsageFault(f"{path} is a run directory, whose scores stand in {path / 'scores'}; see also: {other}")
    if kind == "model":
        raise UsageFault(f"{path} is a router's model, not data; choose it by --set router.model={path}")
    return path


def refuse_no_prompts(path: Path) -> None:
    """UsageFault where what a job is to be written for is a job, a run or a model; a glob may be anything."""
    words: dict[Kind, Callable[[Path], str]] = {
        "job": lambda job: (
            f"{job} is a job file already; to look for faults in it: batchroute check {_quoted(job)}"
        ),
        "run": lambda run: f"{run} is a run directory; its answers are data, too: {_quoted(run / 'results')}",
        "model": lambda model: f"{model} is a router's model, not data; a job names it as router.model",
    }
    kind = kind_of(path)
    if kind in words:
        raise UsageFault(words[kind](path))


def labels_at(paths: Sequence[Path]) -> Sequence[Path]:
    """The same of files of labels."""
    for path in paths:
        kind, quoted = kind_of(path), _quoted(path)
        if kind == "run":
            raise UsageFault(
                f"{path} is a run directory, not labels, which say how good answers were; what it would cost at "
                f"another threshold: batchroute whatif {quoted} --strong-fraction F"
            )
        if kind == "job":
            raise UsageFault(f"{path} is a job file, not labels; its forecast: batchroute plan {quoted}")
        if kind == "model":
            raise UsageFault(f"{path} is a model, not labels; batchroute evaluate LABELS --model {quoted}")
        if kind == "missing":
            raise UsageFault(f"{path}: there is no such file of labels{_near(path, 'data')}")
    return paths


def meant_usage(error: click.ClickException, arguments: Sequence[str]) -> str | None:
    """What was meant by arguments that click refuses, in words; None where it says enough."""
    if not isinstance(error, click.UsageError) or error.ctx is None:
        return None
    if error.ctx.parent is None:
        return _meant_command(arguments)
    if isinstance(error, click.MissingParameter) and error.param is not None and error.param.metavar == "JOB":
        jobs = sorted(Path().glob("*.toml"))
        return f"name a job file, such as {_listed(jobs)}" if jobs else "to write a job file: batchroute init"
    for flag, word in pairwise(arguments):
        if flag in {"--set", "--var"} and "=" not in word:
            return f"{flag} takes one word: {flag} {word}=VALUE"
    return None


def _meant_command(arguments: Sequence[str]) -> str | None:
    """For a path where the name of a command should stand: the command that takes it."""
    first = next((word for word in arguments if not word.startswith("-")), "")
    commands: dict[Kind, str] = {"job": "run", "run": "report", "data": "init"}
    command = commands.get(kind_of(Path(first))) if first else None
    return None if command is None else f"did you mean: batchroute {command} {shlex.join(arguments)}"


def _run_for_job(run: Path) -> str:
    words = f"{run} is a run directory, not a job file. What it did: batchroute report {_quoted(run)}"
    if (job := _job_file_of(run)) is not None:
        return f"{words}; to go on with it: batchroute run {_quoted(job)}"
    return f"{words}; to go on with it, run the job file again that it came from"


def _job_file_of(run: Path) -> Path | None:
    """A job file near the run that has its name."""
    from batchroute.report.read import read_job

    name = f"{read_job(run).name}.toml"
    folders = (Path(), run.parent, run.parent.parent)
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _folder_for_job(folder: Path) -> str:
    jobs = sorted(folder.glob("*.toml"))
    if jobs:
        return f"{folder} is a folder, not a job file; it has {_listed(jobs)}"
    return f"{folder} is a folder, not a job file; of data, this writes one: batchroute init {_quoted(folder)}"


def _run_of_job(path: Path) -> Path:
    from batchroute.job.load import load_job

    run = Path(load_job(path, environ=os.environ).output.path)
    if kind_of(run) != "run":
        raise RunFault(f"{path}: its run {run} is not there yet; to begin it: batchroute run {_quoted(path)}")
    log.info(f"run {run}")
    return run


def _near(path: Path, wanted: Kind) -> str:
    """What lies beside it under nearly that name."""
    if path.parts[:1] and path.parts[0].startswith("~") and path.expanduser().exists():
        return f"; did you mean {path.expanduser()}?"
    if not path.parent.is_dir():
        return ""
    near = near_file(path.name, sorted(entry.name for entry in path.parent.iterdir() if kind_of(entry) == wanted))
    return f"; did you mean {path.parent / near}?" if near else ""


def _listed(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - _MOST_NAMED} more" if len(paths) > _MOST_NAMED else ""
    return ", ".join(map(str, paths[:_MOST_NAMED])) + more


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
