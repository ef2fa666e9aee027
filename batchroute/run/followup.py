"""A finished run -> the job file that makes another of it: the same job at another threshold.

The new job reuses the run, so that only rows that change side are asked, and those that the run has no answer for.
Knows nothing of rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import tomli_w

from batchroute.errors import RunFault, UsageFault
from batchroute.job.endpoint import all_addresses
from batchroute.job.load import MASKED
from batchroute.store.files import AS_UMASK_SAYS, refuse_homeless, saving, write_whole
from batchroute.store.identity import read_identity
from batchroute.store.layout import RunLayout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Followup:
    """What was written: where the job will put its results, and which settings a run does not keep."""

    output: str
    masked: tuple[str, ...]


def write_followup(run: Path, threshold: float, out: Path) -> Followup:
    """Writes `out`, the job of the directory `run` at `threshold`, into a directory beside it.

    Raises RunFault where `run` has no job, UsageFault where `out` cannot be written without loss.
    """
    if not math.isfinite(threshold):
        raise RunFault(f"{run}: no row has a score; there is nothing to run at another threshold")
    refuse_homeless(out)
    if out.exists():
        raise UsageFault(f"{out}: exists; name a new file for the job")
    directory = run.resolve()
    job = read_identity(RunLayout(directory)).tables()
    output = f"{directory}-at-{threshold:.5f}"
    job["input"]["reuse"] = [str(directory)]
    job["routing"] = {"threshold": threshold}
    job["output"]["path"] = output
    with saving(out):
        write_whole(out, (_head(directory, threshold) + tomli_w.dumps(job)).encode(), mode=AS_UMASK_SAYS)
    return Followup(output, tuple(_masked(job)))


def _head(run: Path, threshold: float) -> str:
    return (
        f"# {run.name} at the threshold {threshold!r}: rows that stay on their side are taken over from there.\n\n"
    )


def _masked(job: Mapping[str, Any]) -> Iterator[str]:
    """The settings whose values a run does not write down."""
    tables = {f"endpoints.{side}": spec for side, spec in job["endpoints"].items()}
    tables["router.embedder"] = job.get("router", {}).get("embedder", {})
    for name, table in tables.items():
        yield from (f"{name}.headers.{key}" for key, value in table.get("headers", {}).items() if value == MASKED)
        urls = all_addresses(table.get("base_url"))
        if any(MASKED in dict(parse_qsl(urlsplit(url).query)).values() for url in urls):
            yield f"{name}.base_url"
