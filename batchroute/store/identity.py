"""Which job a run directory belongs to: its job.toml, and what may change when the run goes on.

The file is the resolved job without secrets, plus one table of ours. Knows no rows.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import msgspec
import tomli_w

from batchroute.errors import AnsweredOtherwise, RunFault
from batchroute.input.file import Fingerprint
from batchroute.job.load import RUN_TABLE, resolved_toml
from batchroute.job.settings import changed_settings, frozen_settings
from batchroute.store.columns import FORMAT
from batchroute.store.files import unreadable, write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import JsonValue

    from batchroute.job.spec import Job
    from batchroute.store.layout import RunLayout
    from batchroute.store.tally import Tally

FILES = "input.path"
# What a lane asks is frozen with that lane's first answer, everything else with the first answer at all.
_LANE_SETTINGS = ("model", "params", "simulate")
# A change of these makes everything in the directory void: the scores, or the columns of the parts.
_VOIDING = ("input.", "router.", "output.")


@dataclass(frozen=True, slots=True)
class Identity:
    """What a directory is held to.

    `job` is the resolved job in TOML, `scorer` what the first score came from; `threshold` and `rows` are known
    once the scores are. `limit` is how many rows the last run was asked for, None: all. `format` is the
    directory's for good, whichever version goes on with it.
    """

    job: str
    frozen: dict[str, JsonValue]
    scorer: str | None = None
    threshold: float | None = None
    rows: int | None = None
    limit: int | None = None
    router: str | None = None
    format: int = FORMAT

    @property
    def wanted_rows(self) -> int | None:
        """How many rows the last run was to answer; None until they are known."""
        return self.rows if self.rows is None or self.limit is None else min(self.rows, self.limit)

    @property
    def files(self) -> tuple[Fingerprint, ...]:
        """The input's files, in its order, as they were when the first run began."""
        return msgspec.convert(self.frozen[FILES], tuple[Fingerprint, ...])

    def threshold_for(self, rows: int | None) -> float | None:
        """The threshold, where it was settled on for so many rows or more; `rows` None: that is not known yet."""
        covered = rows is not None and (self.rows is None or rows <= self.rows)
        return self.threshold if covered else None

    def tables(self) -> dict[str, Any]:
        """The job's own tables; decimals are exact."""
        tables = tomllib.loads(self.job, parse_float=Decimal)
        tables.pop(RUN_TABLE, None)
        return tables

    def conflict(self, why: str) -> AnsweredOtherwise:
        """What to raise where the answers in the directory are not those that this job asks for."""
        tables = self.tables()
        output = tables["output"]["path"]
        return AnsweredOtherwise(f"{output} {why}", output, tables["input"].get("reuse", []))

    @property
    def fingerprint(self) -> str:
        """One word for the frozen settings."""
        return hashlib.sha256(msgspec.json.encode(self.frozen, order="sorted")).hexdigest()[:16]


def identity_of(job: Job, files: Sequence[Fingerprint]) -> Identity:
    """What the job asks of its directory."""
    listed: Any = msgspec.to_builtins(list(files))
    return Identity(resolved_toml(job), {**frozen_settings(job), FILES: listed})


def merge(
    old: Identity | None, new: Identity, tally: Tally, *, has_pilot_answers: bool = False
) -> tuple[Identity, bool]:
    """The identity to go on with, and whether all that stands in the directory is void.

    What a pilot has answered holds all settings but those of the routing, which its grades are yet to decide.

    AnsweredOtherwise names every setting that differs and may not, because a row is answered already.
    """
    if old is None:
        return new, False
    changed = changed_settings(old.frozen, new.frozen)
    held = [key for key in changed if _held(key, tally, has_pilot_answers=has_pilot_answers)]
    if held:
        files = f" ({changed_files(old.files, new.files)})" if FILES in held else ""
        raise new.conflict(f"has answers of another job: {', '.join(held)} changed{files}; put that back")
    if any(key.startswith(_VOIDING) for key in changed):
        return replace(new, format=old.format), True
    # Another way to the threshold before any row is answered: the old threshold is void, the scores are not.
    known = replace(new, scorer=old.scorer, rows=old.rows, limit=old.limit, format=old.format)
    if not any(key.startswith("routing.") for key in changed):
        return replace(known, threshold=old.threshold, router=old.router), False
    return (known if old.router is None else replace(known, scorer=None)), False


def changed_files(old: Sequence[Fingerprint], new: Sequence[Fingerprint]) -> str:
    """Which files are others than they were, in words."""
    before, now = {file.name: file for file in old}, {file.name: file for file in new}
    listed = {
        "has other content": [name for name in now if name in before and now[name] != before[name]],
        "is new": [name for name in now if name not in before],
        "is gone": [name for name in before if name not in now],
    }
    words = [f"{names[0]} {what}{_and_more(len(names) - 1)}" for what, names in listed.items() if names]
    return ", ".join(words) or "their order"


def _and_more(count: int) -> str:
    return f" and {count:,} more" if count else ""


def _held(key: str, tally: Tally, *, has_pilot_answers: bool) -> bool:
    if has_pilot_answers and not key.startswith("routing."):
        return True
    _, side, setting = (*key.split("."), "", "")[:3]
    if key.startswith("endpoints.") and setting in _LANE_SETTINGS:
        return tally.ok[side] > 0
    return any(tally.ok.values())


def find_identity(run: RunLayout) -> Identity | None:
    """What the directory's job.toml says; None for a new directory, RunFault for one that holds something else."""
    if run.job.exists():
        return read_identity(run)
    if foreign := run.foreign():
        raise RunFault(f"{run.path}: holds {foreign[0].name}, but no run; name an empty or new directory")
    return None


def read_identity(run: RunLayout) -> Identity:
    """What the directory's job.toml says; RunFault where there is none, or none that this version can read."""
    try:
        text = run.job.read_text(encoding="utf-8")
        tables = _tables(text)
        if tables.keys() & {"input", "endpoints"} and RUN_TABLE not in tables:
            raise RunFault(f"{run.job}: is a job file, and its folder holds no run; name another directory")
        return _read(text, tables[RUN_TABLE])
    except (FileNotFoundError, NotADirectoryError) as missing:
        raise RunFault(f"{run.path}: not a run directory (it has no {run.job.name})") from missing
    except PermissionError as denied:
        raise unreadable(run.job, denied) from denied
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise RunFault(f"{run.job}: not as a run wrote it ({error}); name another directory") from error


@lru_cache(maxsize=2)
def _tables(text: str) -> Mapping[str, Any]:
    """A process looks twice for each of its shards, and finds the same, which may name thousands of files."""
    return tomllib.loads(text)


def known_identity(run: RunLayout) -> Identity | None:
    """The same; None where no run has begun."""
    return read_identity(run) if run.job.exists() else None


def _read(text: str, ours: Mapping[str, Any]) -> Identity:
    if not 1 <= ours["format"] <= FORMAT:
        raise RunFault(
            f"the directory was written by batchroute {ours['version']} in format {ours['format']}, "
            f"this version reads up to {FORMAT}; go on with that version"
        )
    frozen = msgspec.json.decode(ours["frozen"], type=dict)
    known = {key: ours.get(key) for key in ("scorer", "threshold", "rows", "limit", "router")}
    return Identity(text, frozen, **known, format=ours["format"])


def write_identity(run: RunLayout, identity: Identity) -> None:
    """Whole or not at all."""
    ours = {
        "format": identity.format,
        "version": version("batchroute"),
        "fingerprint": identity.fingerprint,
        "scorer": identity.scorer,
        "threshold": identity.threshold,
        "rows": identity.rows,
        "limit": identity.limit,
        "router": identity.router,
        "files": identity.frozen[FILES],
        "frozen": msgspec.json.encode(identity.frozen).decode(),
    }
    table = {RUN_TABLE: {key: value for key, value in ours.items() if value is not None}}
    write_whole(run.job, tomli_w.dumps({**identity.tables(), **table}).encode())
