"""What is to be known before a job runs over shards: how many there will be, and which files hold it up.

Reads the input once more, as the run itself will, to count its rows. Sends nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from batchroute.input.cut import FAR_TOO_LARGE, MIB, cut, is_whole
from batchroute.run.workers.senders import senders
from batchroute.score.cores import usable_cores
from batchroute.store.layout import RunLayout
from batchroute.store.shards import read_shards

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchroute.input.file import InputFile
    from batchroute.input.open import Source
    from batchroute.job.spec import Job

_SHOWN_FILES = 3


def is_for_shards(job: Job) -> bool:
    """Whether a job is to run over shards, as far as it says so."""
    return job.engine.use != "local" or "shard_mb" in job.engine.model_fields_set


def shard_notes(job: Job, source: Source) -> Iterator[str]:
    """How many shards the input makes."""
    known = read_shards(RunLayout(Path(job.output.path)))
    if known is not None:
        yield f"shards: the run directory has {len(known.all):,}"
        return
    workers = likely_senders(job)
    number = len(cut(source, job.engine, workers))
    yield f"shards: likely {number:,}, for {workers:,} worker{'s' if workers > 1 else ''}"


def likely_senders(job: Job) -> int:
    """Workers, as far as the CPUs of this machine tell."""
    return senders(job, usable_cores())


def shard_warnings(job: Job, source: Source) -> Iterator[str]:
    """Files that are one shard, and far larger than shards are to be."""
    most = FAR_TOO_LARGE * job.engine.shard_mb * MIB
    held_up = [file for file in source.files if file.size > most and is_whole(file)]
    for file in held_up[:_SHOWN_FILES]:
        size = f"{file.size / MIB:,.0f} MB in one shard"
        yield f"{file.path}: {size}, which one worker reads and sends alone: {_why_whole(file)}"
    if len(held_up) > _SHOWN_FILES:
        yield f"input: {len(held_up) - _SHOWN_FILES:,} more such files"


def _why_whole(file: InputFile) -> str:
    if file.format == "jsonl":
        return "packed text cannot be cut; unpack it, or write it as several files or as Parquet"
    kind = "CSV" if file.format == "csv" else "a JSON array"
    return f"{kind} cannot be cut; write it as JSON lines or Parquet, or as several files"
