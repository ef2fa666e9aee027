"""Jobs that are run by several processes at once, each with a share of the shards."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import tomli_w

from inputs import lines
from jobs import job_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ROWS = 240
BATCHROUTE = (sys.executable, "-c", "from batchroute.cli import main; main()")
DIFFERENT = ("finished_at", "latency_s", "request_id")  # from run to run


def write_shares_job(folder: Path, url: str, changes: Mapping[str, Any] | None = None, rows: int = ROWS) -> None:
    """`job.toml`, whose input of so many rows is cut into about eight shards."""
    folder.mkdir(exist_ok=True)
    prompts = [{"id": f"id-{row}", "prompt": f"question {row} " + "x" * (row * 37 % 400)} for row in range(rows)]
    lines(folder / "prompts.jsonl", *prompts)
    size_mb = (folder / "prompts.jsonl").stat().st_size / 1e6
    lane = {"base_url": url, "max_concurrency": 8}
    ours = {f"endpoints.{side}.{key}": value for side in ("strong", "weak") for key, value in lane.items()}
    ours |= {"engine.shard_mb": round(size_mb / 8, 5), "input.id": "id", **(changes or {})}
    job = job_of(folder / "prompts.jsonl", folder / "run", ours)
    (folder / "job.toml").write_text(tomli_w.dumps(job.model_dump(mode="json", exclude_none=True)))


def begun(folder: Path, *words: str) -> subprocess.Popen[str]:
    """`batchroute` with these words, in a session of its own."""
    command = [*BATCHROUTE, *words, "--quiet"]
    return subprocess.Popen(command, cwd=folder, start_new_session=True, stderr=subprocess.PIPE, text=True)


def shares(folder: Path, of: int, *words: str, command: str = "run") -> list[tuple[int, str]]:
    """All shares at once; of each its exit code and what it said."""
    running = [begun(folder, command, "job.toml", "--shard", f"{index}/{of}", *words) for index in range(of)]
    said = [each.communicate(timeout=120)[1] for each in running]
    return [(each.returncode, words) for each, words in zip(running, said, strict=True)]


def answers(run: Path) -> list[dict[str, Any]]:
    """The rows in sealed parts, in input order, without what differs from run to run."""
    parts = sorted((run / "results").glob("part-*.parquet"))
    rows = [row for part in parts for row in pq.read_table(part).drop_columns(list(DIFFERENT)).to_pylist()]
    return sorted(rows, key=lambda row: (row["file"], row["row"]))


def report(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "report.json").read_text())
    return found
