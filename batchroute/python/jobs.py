"""Keywords -> a job: over those of a job file, or in place of one where a data file or a frame is the input.

The keywords are the job file's own words; `settings` has the rest, by dotted key as --set has it. Without a job
file all columns are kept beside the answers, and an endpoint without an address is OpenAI's.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, Unpack

import msgspec

from batchroute.job import load as job_files
from batchroute.job.settings import frozen_settings
from batchroute.job.spec import Endpoints, Job
from batchroute.store.layout import RunLayout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batchroute.python.frames import Frame

    StrPath: TypeAlias = str | os.PathLike[str]
    Source: TypeAlias = Job | StrPath | Frame

_OPENAI = {"base_url": "https://api.openai.com/v1", "api_key_env": "OPENAI_API_KEY"}
_KEYS = ("api_key_env", "api_key_command")
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")  # of directories


class JobKeywords(TypedDict, total=False):
    """The settings that have a keyword of their own; of the three prompts and the four shares one of each."""

    name: str
    prompt: str  # the column of texts; "prompt" where no prompt is named
    messages: str  # the column of chat messages
    template: str  # a Jinja template over the columns
    system: str
    id: str
    keep: str | Sequence[str]
    strong: str | Mapping[str, Any]  # a model's name, or the settings of [endpoints.strong]
    weak: str | Mapping[str, Any]
    base_url: str | Sequence[str]  # of both endpoints, as the three that follow; several addresses answer alike
    api_key_env: str
    params: Mapping[str, Any]
    simulate: bool | Mapping[str, Any]
    quality: float
    strong_fraction: float
    threshold: float
    budget_usd: float
    max_cost_usd: float


_PLACES = {
    "name": "name",
    **{name: f"input.{name}" for name in ("prompt", "messages", "template", "system", "id", "keep")},
    **{name: f"routing.{name}" for name in ("quality", "strong_fraction", "threshold", "budget_usd")},
    "max_cost_usd": "limits.max_cost_usd",
}
_OF_BOTH = ("base_url", "api_key_env", "params", "simulate")


def load_job(
    path: StrPath,
    *,
    settings: Mapping[str, Any] | None = None,
    variables: Mapping[str, str] | None = None,
    output: StrPath | None = None,
) -> Job:
    """The job in a job file; `settings` over it, `${NAME}` in its paths filled from `variables` and os.environ.

        job = br.load_job("nightly.toml", settings={"limits.max_cost_usd": 20}, variables={"DATE": "2026-11-28"})

    Relative paths in the file are taken from its folder. Raises JobFault with every fault at once.
    """
    return job_files.load_job(
        Path(path), environ=os.environ, settings=settings, variables=variables, output=_path(output)
    )


def make_job(
    source: Source,
    *,
    output: StrPath | None = None,
    settings: Mapping[str, Any] | None = None,
    variables: Mapping[str, str] | None = None,
    **keywords: Unpack[JobKeywords],
) -> Job:
    """The job that `run` would run with these arguments, for the functions that take a job.

        job = br.make_job(df, prompt="text", strong="gpt-6.1-sol", weak="gpt-6-luna", strong_fraction=0.1)
        br.plan(job).cost_usd

    A frame is written into the run directory as its input. Raises JobFault with every fault at once, and RunFault
    where the directory has answers to other rows.
    """
    return job_for(source, output, settings, variables, keywords, require_keys=False)


def job_for(
    source: Source,
    output: StrPath | None,
    settings: Mapping[str, Any] | None,
    variables: Mapping[str, str] | None,
    keywords: JobKeywords,
    *,
    require_keys: bool,
) -> Job:
    """See `make_job`; `require_keys`: a key that is missing is a fault, too."""
    own = {**dict(_spelled(keywords)), **(settings or {})}
    if isinstance(source, Job):
        values = source.model_dump(exclude_none=True, by_alias=True)
    elif not isinstance(source, str | os.PathLike):
        return _job_of_frame(source, output, own, variables, require_keys=require_keys)
    elif os.fspath(source).endswith(".toml"):
        return job_files.load_job(
            Path(source),
            environ=os.environ,
            settings=own,
            variables=variables,
            output=_path(output),
            require_keys=require_keys,
        )
    else:
        stem = PurePath(source).name.partition(".")[0].strip("*") or "data"
        values = _bare(own.get("name", stem), os.fspath(source), own)
    if output is not None:
        own["output.path"] = output
    return job_files.job_of(
        values, environ=os.environ, settings=own, variables=variables, require_keys=require_keys
    )


def _path(output: StrPath | None) -> Path | None:
    return None if output is None else Path(output)


def _spelled(keywords: JobKeywords) -> Iterator[tuple[str, Any]]:
    """The keywords as settings by dotted key; TypeError for one that there is not."""
    for name in keywords.keys() - JobKeywords.__annotations__.keys():
        near = difflib.get_close_matches(name, JobKeywords.__annotations__, n=1)
        advice = f"did you mean {near[0]}?" if near else 'other settings go into settings={"section.key": ...}'
        raise TypeError(f"unexpected keyword argument {name!r}; {advice}")
    for name in keywords.keys() & _PLACES.keys():
        yield _PLACES[name], keywords[name]  # type: ignore[literal-required]
    for side in Endpoints.model_fields:
        for name in _OF_BOTH:
            if name in keywords and (value := keywords[name]) is not False:  # type: ignore[literal-required]
                yield f"endpoints.{side}.{name}", {} if value is True else value
        given: str | Mapping[str, Any] = keywords.get(side, {})  # type: ignore[assignment]
        own = {"model": given} if isinstance(given, str) else given
        yield from ((f"endpoints.{side}.{key}", value) for key, value in own.items())


def _bare(name: str, path: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """What stands where there is no job file to say it."""
    values: dict[str, Any] = {
        "name": name,
        "input": {"path": [path], "keep": ["*"]},
        "output": {"path": f"runs/{_NOT_IN_NAMES.sub('-', str(name))}"},
        "routing": {},
        "endpoints": {},
    }
    for side in Endpoints.model_fields:
        place = f"endpoints.{side}."
        if f"{place}base_url" not in own and f"{place}simulate" not in own:
            has_key = any(f"{place}{key}" in own for key in _KEYS)
            values["endpoints"][side] = {"base_url": _OPENAI["base_url"]} if has_key else dict(_OPENAI)
        else:
            values["endpoints"][side] = {}
    return values


def _job_of_frame(
    frame: Frame,
    output: StrPath | None,
    own: Mapping[str, Any],
    variables: Mapping[str, str] | None,
    *,
    require_keys: bool,
) -> Job:
    """The job whose input is the frame, which then lies in its run directory."""
    from batchroute.python.frames import digest_of, keep_frame, table_of  # noqa: PLC0415 - imports pyarrow

    table = table_of(frame)
    place = {} if output is None else {"output.path": output}
    job = job_files.job_of(
        _bare(own.get("name", "frame"), "frame", own),
        environ=os.environ,
        settings={**own, **place},
        variables=variables,
        require_keys=require_keys,
    )
    run = Path(job.output.path)
    if output is None and "output.path" not in own:
        run = run.with_name(f"{run.name}-{_word_for(job, digest_of(table))}")
    keep_frame(run, table, int(job.output.mode, 8))
    changes = {
        "output": job.output.model_copy(update={"path": str(run)}),
        "input": job.input.model_copy(update={"path": [str(RunLayout(run).frame)]}),
    }
    return job.model_copy(update=changes)


def _word_for(job: Job, digest: str) -> str:
    """Eight letters for these rows asked in this way: the same cell again finds its own answers."""
    asked = msgspec.json.encode([frozen_settings(job), digest], order="sorted")
    return hashlib.sha256(asked).hexdigest()[:8]
