"""What `check` says of a job that is to run over shards."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import pytest

from batchroute.run.check import Findings, check_job
from batchroute.run.open import open_input
from batchroute.store.layout import RunLayout
from batchroute.store.shards import open_shards
from inputs import lines
from jobs import job_of, on_both

if TYPE_CHECKING:
    from pathlib import Path

MB = 1 << 20
PROCESSES = {"engine.use": "processes"}
SEVERAL = {
    **on_both("base_url", ["http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"]),
    **on_both("per_address", True),
}


def checked(folder: Path, changes: dict[str, Any], limit: int | None = None) -> Findings:
    job = job_of(folder / "in", folder / "run", {**changes})
    return check_job(lambda: job, limit)


def said(found: Findings) -> list[str]:
    return [line for line in (*found.notes, *found.warnings) if "shard" in line]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    lines(tmp_path / "in/a.jsonl", *({"prompt": f"{at:05d}"} for at in range(1000)))
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({**PROCESSES, "engine.workers": 8}, ["shards: likely 8, for 8 workers"]),
        ({"engine.use": "ray", "engine.workers": 1}, ["shards: likely 1, for 1 worker"]),
        ({**PROCESSES, **on_both("requests_per_minute", 700)}, ["shards: likely 1, for 1 worker"]),
        (
            {**PROCESSES, **on_both("requests_per_minute", 1300), "engine.workers": 8},
            ["shards: likely 2, for 2 workers"],
        ),
        (
            {**PROCESSES, **SEVERAL, **on_both("requests_per_minute", 1300), "engine.workers": 8},
            ["shards: likely 4, for 4 workers"],
        ),
        ({"engine.shard_mb": 2000 / MB, "engine.workers": 2}, ["shards: likely 10, for 2 workers"]),
        ({"engine.use": "local"}, []),
        ({}, []),
    ],
)
def test_how_many_shards_there_are_likely_to_be(rows: Path, changes: dict[str, Any], words: list[str]) -> None:
    assert said(checked(rows, changes)) == words


def test_where_only_some_rows_are_read_the_others_are_not_counted(rows: Path) -> None:
    assert said(checked(rows, {**PROCESSES, "engine.workers": 8}, limit=3)) == []


def test_a_directory_that_is_cut_has_its_shards(rows: Path) -> None:
    job = job_of(rows / "in", rows / "run", PROCESSES)
    (rows / "run").mkdir()
    open_shards(RunLayout(rows / "run"), open_input(job.input, job.router, None), job.engine, 5)
    assert said(checked(rows, {**PROCESSES, "engine.workers": 8})) == ["shards: the run directory has 5"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "b.jsonl.gz",
            gzip.compress(b'{"prompt":"a"}\n' * 9),
            "packed text cannot be cut; unpack it, or write it as",
        ),
        ("b.csv", b"prompt\n" + b"a\n" * 40, "CSV cannot be cut; write it as JSON lines or Parquet"),
        ("b.json", b"[" + b'{"prompt":"a"},' * 9 + b"]", "a JSON array cannot be cut; write it as JSON lines"),
    ],
    ids=["packed", "csv", "array"],
)
def test_a_large_file_that_cannot_be_cut_is_a_warning(rows: Path, name: str, content: bytes, words: str) -> None:
    (rows / "in" / name).write_bytes(content)
    size = {"engine.shard_mb": len(content) / 4.5 / MB}
    [warning] = [line for line in checked(rows, size).warnings if "shard" in line]
    assert warning.startswith(
        f"{rows}/in/{name}: 0 MB in one shard, which one worker reads and sends alone: {words}"
    )
    [] = [line for line in checked(rows, {"engine.shard_mb": len(content) / 3.5 / MB}).warnings if "shard" in line]
    for more in range(5):
        (rows / "in" / f"{more}{name}").write_bytes(content)
    found = checked(rows, size).warnings
    assert len([line for line in found if "in one shard" in line]) == 3
    assert "input: 3 more such files" in found
