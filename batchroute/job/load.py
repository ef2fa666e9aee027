"""Job files in and out: TOML to a checked Job, or to every fault with its line; a Job to TOML without secrets.

Knows paths, variables and flags; what the settings mean is said in `spec` and `rules`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import tomli_w
from pydantic import BaseModel, ValidationError

from batchroute.errors import JobFault
from batchroute.job.beside import find_beside
from batchroute.job.meant import key_meant, number_meant
from batchroute.job.rules import JUDGE, PROMPTS, PROVIDERS, TARGETS, at, contradictions, endpoint_places
from batchroute.job.secrets import key_faults
from batchroute.job.settings import settings
from batchroute.job.spec import Endpoints, InputSpec, Job, RouterJob, RouterSpec, ScoringJob
from batchroute.job.toml import FROM_FLAG, Document, Place, parse_key, parse_set, read_toml

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchroute.job.rules import Fault
    from batchroute.job.toml import Loc

_Model = TypeVar("_Model", bound=BaseModel)

RUN_TABLE = "batchroute"  # the table that a run directory's job.toml has besides the job
MASKED = "***"
SETTINGS = "settings:"  # how messages name what Python set

# They are made absolute: cron starts a job from any folder, and the run directory keeps the job for later.
_PATHS: tuple[tuple[str, ...], ...] = (
    ("input", "path"),
    ("input", "reuse"),
    ("output", "path"),
    ("router", "model"),
    ("router", "embedder", "model"),
    ("router", "embedder", "cache"),
    ("pilot", "reuse"),
    ("check", "schema"),
)
# Those of them that are written to: locks, journals that grow and renames are no matter of an object store.
_DIRECTORIES = (("output", "path"), ("router", "embedder", "cache"))
# As typed, or as pathlib leaves it: "s3:/bucket/run".
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
# What may name a class or a function of the user's own.
_CLASSES = (("router", "use"), ("router", "embedder", "use"), ("pilot", "judge"), ("check", "function"))
# Addresses and commands among them, and the tables whose keys are free.
_MAY_HOLD_SECRETS = {"api_key_env", "api_key_command", "api_key_header", "base_url", "headers", "params"}
_VARIABLE = re.compile(r"\$\{([^}]*)\}")
# Only one of each may stand. `--set routing.threshold=0.4` over a file that has strong_fraction means the
# threshold, not a contradiction, so a flag removes the rivals that the file has; two flags that clash are a
# fault.
_RIVALS: tuple[tuple[Loc, tuple[str, ...]], ...] = (
    (("input",), PROMPTS),
    (("routing",), TARGETS),
    *((loc, PROVIDERS) for loc in endpoint_places(Endpoints.model_fields)),
)
# pydantic's own messages speak of Python's types; these say what to write in a job file.
_WORDS = {
    "missing": "missing; add it",
    "string_type": "must be a text in quotes",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a text or a list of texts",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "finite_number": "must be a finite number",
    "literal_error": "must be {expected}",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be {ge:g} or more",
    "less_than_equal": "must be {le:g} or less",
    "less_than": "must be below {lt:g}",
    "string_too_short": "must not be empty; name one or remove the key",
    "too_short": "must not be empty; name one",
}


def load_job(
    path: Path,
    *,
    environ: Mapping[str, str],
    sets: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    variables: Mapping[str, str] | None = None,
    output: Path | None = None,
    require_keys: bool = False,
) -> Job:
    """The job in `path`, with `output` over its output.path, and over all that `sets` and `settings`.

    Those are `section.key=value` as on a command line, and values by `section.key`.

    Paths in the file are taken from its folder, those of flags from the current one; `variables`, then `environ`,
    fill `${NAME}` in them. A class of the user's own is looked for in the file's folder, too. Raises JobFault with
    every fault at once, with those of the keys where `require_keys` asks for them.
    """
    document = read_toml(path, _plain_names())
    document.remove((RUN_TABLE,))
    document.values.setdefault("name", path.stem)
    if output is not None:
        document.override(("output", "path"), str(output))
    wrong_flags = [fault for text in sets for fault in _set(document, text)]
    if settings:
        document = replace(document, flag=SETTINGS)
        wrong_flags += _put_all(document, settings)
    known = {**environ, **(variables or {})}
    return _resolved(Job, document, wrong_flags, path.absolute().parent, known, environ if require_keys else None)


def _plain_names() -> frozenset[str]:
    """The names of settings whose values may be shown in a message: no key is pasted there."""
    return frozenset(str(loc[-1]) for loc, _ in settings()) - _MAY_HOLD_SECRETS


def job_of(
    values: Mapping[str, Any],
    *,
    environ: Mapping[str, str],
    settings: Mapping[str, Any],
    variables: Mapping[str, str] | None = None,
    require_keys: bool = False,
) -> Job:
    """The job whose tables are `values`, as those of a job file, with `settings` over them; see `load_job`.

    Paths are taken from the current folder.
    """
    document = Document("", _plain(values), {(name,): Place(FROM_FLAG) for name in values}, flag=SETTINGS)
    wrong_flags = list(_put_all(document, settings))
    known = {**environ, **(variables or {})}
    return _resolved(Job, document, wrong_flags, Path.cwd(), known, environ if require_keys else None)


def scoring_sections(
    data: str,
    prompt: str | None,
    sets: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> tuple[InputSpec, RouterSpec]:
    """What scoring a data file needs where there is no job file: the defaults, with `sets` over them.

    Raises JobFault with every fault at once.
    """
    column = {} if prompt is None else {"prompt": prompt}
    values = {"input": {"path": data, **column}, "router": {}}
    job = _of_flags(ScoringJob, values, sets, variables or {}, settings)
    return job.input, job.router


def router_section(sets: Sequence[str] = (), settings: Mapping[str, Any] | None = None) -> RouterSpec:
    """The [router] of a command that takes no job file: the defaults, with `sets` over them.

    Raises JobFault with every fault at once.
    """
    return _of_flags(RouterJob, {"router": {}}, sets, {}, settings).router


def _of_flags(
    model: type[_Model],
    values: dict[str, Any],
    sets: Sequence[str],
    variables: Mapping[str, str],
    settings: Mapping[str, Any] | None,
) -> _Model:
    """Settings that come from flags alone: `values`, with `sets` and `settings` over them."""
    flag = "--set" if settings is None else SETTINGS
    document = Document("", values, {(section,): Place(FROM_FLAG) for section in values}, flag=flag)
    wrong_flags = [fault for text in sets for fault in _set(document, text)]
    wrong_flags += _put_all(document, settings or {})
    sections = " and ".join(f"[{section}]" for section in model.model_fields)
    for loc in [loc for loc in document.places if loc[0] not in model.model_fields]:
        wrong_flags.append(document.fault(loc, f"only {sections} can be set here"))
        document.remove(loc[:1])
    return _resolved(model, document, wrong_flags, Path.cwd(), variables)


def _resolved(
    model: type[_Model],
    document: Document,
    wrong_flags: Sequence[str],
    folder: Path,
    variables: Mapping[str, str],
    environ_with_keys: Mapping[str, str] | None = None,
) -> _Model:
    """The document as a `model`, its paths absolute; JobFault with all that is wrong, in the file's order."""
    # Contradictions beside the faults of single settings, at which the model's own check for them would not begin.
    faults = [
        *_settle_paths(document, folder, variables),
        *contradictions(document.values, Endpoints.model_fields),
    ]
    found = None
    try:
        found = model.model_validate(document.values)
    except ValidationError as error:
        faults += [_explained(fault, document) for fault in error.errors(include_url=False, include_input=False)]
    if environ_with_keys is not None:
        # Defaults may name keys, too, as the embedder's do, but only a document that was sound has got them.
        faults += key_faults(
            document.values if found is None else found.model_dump(by_alias=True), environ_with_keys
        )
    if found is None or faults or wrong_flags:
        ordered = sorted(dict.fromkeys(faults), key=lambda fault: document.line(fault[0]))
        raise JobFault([*wrong_flags, *(document.fault(loc, what) for loc, what in ordered)])
    for use in (at(found, *place) for place in _CLASSES):
        if ":" in str(use):
            find_beside(str(use), folder)
    return found


def _set(document: Document, text: str) -> Iterator[str]:
    """Apply one --set."""
    try:
        loc, value = parse_set(text)
    except ValueError as fault:
        yield f"--set {fault}"
    else:
        yield from _put(document, loc, value)


def _put_all(document: Document, settings: Mapping[str, Any]) -> Iterator[str]:
    """Apply values by their dotted keys."""
    for key, value in settings.items():
        loc = parse_key(key)
        if loc is None:
            yield f"{SETTINGS} {key}: is no key; write it as section.key"
        else:
            yield from _put(document, loc, _plain(value))


def _plain(value: Any) -> Any:
    """A copy in the types that TOML's parser makes."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _put(document: Document, loc: Loc, value: Any) -> Iterator[str]:
    """Change one setting; it replaces one it cannot stand beside, so a flag never clashes with the file."""
    try:
        document.override(loc, value)
    except TypeError as fault:
        yield f"{document.flag} {fault}"
        return
    for table, keys in _RIVALS:
        key = loc[len(table)] if loc[: len(table)] == table and len(loc) > len(table) else None
        for rival in keys if key in keys else ():
            if rival != key and document.line((*table, rival)) != FROM_FLAG:
                document.remove((*table, rival))


def _settle_paths(document: Document, folder: Path, variables: Mapping[str, str]) -> Iterator[Fault]:
    """Make every path in the document absolute, its variables filled in."""
    for loc, holder, text in _written_paths(document.values):
        for name in dict.fromkeys(_VARIABLE.findall(text)):
            if name not in variables:
                yield loc, f"${{{name}}} is not set; give --var {name}=VALUE or set it in the environment"
        filled = _VARIABLE.sub(lambda found: variables.get(found[1], found[0]), text)
        if loc in _DIRECTORIES and _ADDRESS.match(filled):
            yield loc, "must be a directory, not an address; give a directory that all workers share"
        base = Path.cwd() if document.line(loc) == FROM_FLAG else folder
        holder[loc[-1]] = _absolute(filled, base, loc)


def _written_paths(values: Mapping[str, Any]) -> Iterator[tuple[Loc, Any, str]]:
    """(place, the table or list it is in, text) of every path."""
    for loc in _PATHS:
        table, value = at(values, *loc[:-1]), at(values, *loc)
        if isinstance(value, str) and value:
            yield loc, table, value
        for index, text in enumerate(value if isinstance(value, list) else ()):
            if isinstance(text, str) and text:
                yield (*loc, index), value, text


def _absolute(text: str, base: Path, loc: Loc) -> str:
    """A path from `base`; an address, the built-in model and a model's bare name stay as they are."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) or (loc[0] == "router" and text == "builtin"):
        return text
    if loc == ("router", "embedder", "model") and not text.startswith((".", "/", "~")):
        return text
    return os.path.normpath(base / Path(text).expanduser())


def _explained(fault: Any, document: Document) -> Fault:
    """pydantic's finding in our words, which hold no value from the file but that of a number."""
    kind, loc, about = fault["type"], tuple(part for part in fault["loc"] if part != "[key]"), fault.get("ctx", {})
    if kind == "extra_forbidden":
        return loc, f"unknown key; {key_meant(loc, is_flag=document.line(loc) == FROM_FLAG)}"
    words = _WORDS[kind].format(**about).replace("'", '"') if kind in _WORDS else fault["msg"]
    is_number = kind in {"float_type", "int_type", "less_than_equal"}
    return loc, words + (number_meant(at(document.values, *map(str, loc)), about.get("le")) if is_number else "")


def resolved_toml(job: Job) -> str:
    """The whole job as a job file of its own; plain headers and the query values of addresses are masked."""
    values = job.model_dump(exclude_none=True, by_alias=True)
    judge = at(values, *map(str, JUDGE))
    for spec in (*values["endpoints"].values(), values["router"]["embedder"], *([judge] if judge else [])):
        if "base_url" in spec:
            url = spec["base_url"]
            spec["base_url"] = masked_query(url) if isinstance(url, str) else [*map(masked_query, url)]
        for name, value in spec.get("headers", {}).items():
            spec["headers"][name] = MASKED if isinstance(value, str) else value
    return tomli_w.dumps(values)


def masked_query(url: str) -> str:
    """An address whose query's values, which may be keys, cannot be read."""
    parts = urlsplit(url)
    names = (name for name, _ in parse_qsl(parts.query, keep_blank_values=True))
    return parts._replace(query="&".join(f"{name}={MASKED}" for name in names)).geturl()
