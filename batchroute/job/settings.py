"""The settings of a job by their place: all there are, those that a run holds on to, those that differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_origin

from pydantic import BaseModel, ValidationError

from batchroute.job.rules import at
from batchroute.job.spec import Job

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import JsonValue

    from batchroute.job.toml import Loc


def settings(model: type[BaseModel] = Job, loc: Loc = ()) -> Iterator[tuple[Loc, Any]]:
    """(place, pydantic FieldInfo) of every key a job file may have, tables before what is in them.

    A place has `*` where the job file chooses a name.
    """
    for field, info in model.model_fields.items():
        name = info.alias or field
        yield (*loc, name), info
        inner = section_of(info.annotation)
        if inner is not None:
            chosen = ("*",) if get_origin(info.annotation) is dict else ()
            yield from settings(inner, (*loc, name, *chosen))


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The model a table is checked by, also where the table may be left out."""
    candidates = (annotation, *getattr(annotation, "__args__", ()))
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)


def frozen_settings(job: Job) -> dict[str, JsonValue]:
    """The settings a directory with an answer in it holds on to, by dotted key.

    `input.path` is not among them: the store's list of the files it stands for (names, sizes, hashes) is what
    counts, and a job that has moved with its data goes on.
    """
    values = job.model_dump(mode="json", by_alias=True)
    found: dict[str, JsonValue] = {}
    for loc, info in settings():
        # A frozen table as params is compared as a whole, not key by key.
        covered = any(".".join(map(str, loc[:n])) in found for n in range(1, len(loc)))
        left_out = len(loc) > 1 and at(values, *map(str, loc[:-1])) is None
        if not covered and not left_out and (info.json_schema_extra or {}).get("resume") is False:
            found[".".join(map(str, loc))] = at(values, *map(str, loc))
    del found["input.path"]
    return found


def changed_settings(old: Mapping[str, JsonValue], new: Mapping[str, JsonValue]) -> list[str]:
    """Names of the settings that differ, in the order of `new`, then those only `old` has.

    An older version may have written `old`: what it did not know has its default there.
    """
    missing, known = object(), {**_defaults(), **{key: _completed(key, value) for key, value in old.items()}}
    keys = [*new, *(key for key in old if key not in new)]
    return [key for key in keys if known.get(key, missing) != new.get(key, missing)]


def _defaults() -> dict[str, JsonValue]:
    """Of all settings but those that must be given, as a job file would have them."""
    return {
        ".".join(map(str, loc)): info.get_default(call_default_factory=True)
        for loc, info in settings()
        if not info.is_required()
    }


def _completed(key: str, value: JsonValue) -> JsonValue:
    """A table with the keys that it has had since, at their defaults."""
    section = next(
        (section_of(info.annotation) for loc, info in settings() if ".".join(map(str, loc)) == key), None
    )
    if section is None or not isinstance(value, dict):
        return value
    try:
        completed: JsonValue = section.model_validate(value).model_dump(mode="json", by_alias=True)
    except ValidationError:
        return value
    return completed
