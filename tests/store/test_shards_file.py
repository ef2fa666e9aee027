"""shards.json: written by whoever comes first, and the same shards to everybody who reads it."""

from __future__ import annotations

import json
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

import pytest

from answers import result
from batchroute.errors import AnsweredOtherwise, RunFault
from batchroute.input.cut import cut
from batchroute.job.engine import EngineSpec
from batchroute.store import shards as shards_of_runs
from batchroute.store.directory import open_run_directory
from batchroute.store.files import saving, write_first
from batchroute.store.identity import find_identity, identity_of, write_identity
from batchroute.store.layout import RunLayout
from batchroute.store.shards import open_shards, read_shards
from inputs import grouped, keys, lines, source
from jobs import job_of
from steps import hit_at_every_step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from batchroute.input.cut import Shard
    from batchroute.input.open import Source
    from steps import Mishap

WHOLE = b"whole" * 3000


def of_size(size: float) -> EngineSpec:
    """Shards of so many bytes."""
    return EngineSpec(shard_mb=size / (1 << 20))


def begun(folder: Path, whole: Source) -> RunLayout:
    """A run directory with a job.toml and nothing else."""
    run = RunLayout(folder / "run")
    run.path.mkdir()
    write_identity(run, identity_of(job_of(folder, run.path, {"input.reuse": ["old"]}), whole.fingerprint()))
    return run


def three_files(folder: Path) -> Source:
    """JSON lines with blank ones, a file that cannot be cut, and row groups."""
    (folder / "in").mkdir()
    lines(folder / "in/a.jsonl", *([{"prompt": f"{at}"}, "", "  "][at % 3] for at in range(30)))
    (folder / "in/b.csv").write_text("prompt\none\ntwo\n")
    grouped(folder / "in/c.parquet", [1, 7, 50])
    return source(folder / "in")


def test_they_are_read_back_as_they_were_cut(tmp_path: Path) -> None:
    whole = three_files(tmp_path)
    run = begun(tmp_path, whole)
    written, same = open_shards(run, whole, of_size(100), 1)
    assert written == cut(whole, of_size(100), 1)
    assert same == whole
    again, _ = open_shards(run, whole, of_size(100), 7)
    assert again == written
    stored = read_shards(run)
    assert stored is not None
    assert (stored.all, stored.files, stored.shard_mb) == (written, tuple(whole.fingerprint()), 100 / (1 << 20))
    assert [shard.start.line for shard in again] == [shard.start.line for shard in written]


def test_the_file_is_as_the_contract_says(tmp_path: Path) -> None:
    """A shard: number, file, first row, byte, end row, end byte; rows where some of those are blank lines."""
    (tmp_path / "in").mkdir()
    lines(tmp_path / "in/a.jsonl", {"prompt": "a"}, "", {"prompt": "b"}, {"prompt": "c"})
    (tmp_path / "in/b.csv").write_text("prompt\none\n")
    grouped(tmp_path / "in/c.parquet", [3])
    whole = source(tmp_path / "in")
    run = begun(tmp_path, whole)
    open_shards(run, whole, of_size(30), 1)
    assert json.loads(run.shards.read_text()) == {
        "shard_mb": 30 / (1 << 20),
        "files": [
            {"name": file.name, "size": file.size, "head": file.head, "tail": file.tail}
            for file in whole.fingerprint()
        ],
        "shards": [
            [0, "a.jsonl", 0, 0, 3, 33],
            [1, "a.jsonl", 3, 33, 4, 49],
            [2, "b.csv", 0, 0, None, None],
            [3, "c.parquet", 0, 0, 1, 1],
            [4, "c.parquet", 1, 1, 2, 2],
            [5, "c.parquet", 2, 2, 3, 3],
        ],
        "rows": {"0": 2},
    }
    assert run.shards.stat().st_mode & 0o777 == 0o600


def test_of_many_that_begin_at_once_one_cuts_for_all(tmp_path: Path) -> None:
    whole = three_files(tmp_path)
    run = begun(tmp_path, whole)
    together = Barrier(8)

    def begin(senders: int) -> object:
        together.wait()
        return open_shards(run, whole, EngineSpec(), senders)[0]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(begin, range(1, 9)))
    assert all(shards == found[0] for shards in found)
    assert {path.name for path in run.path.iterdir()} == {"job.toml", "shards.json", "shards.lock"}


def test_what_is_appended_later_is_left_out_for_all(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", *({"prompt": f"{at}"} for at in range(9)))
    first = source(path)
    run = begun(tmp_path, first)
    shards, _ = open_shards(run, first, of_size(50), 1)
    with path.open("a") as file:
        file.write('{"prompt": "late"}\n')
    again, grown = open_shards(run, source(path), of_size(50), 1)
    assert again == shards
    assert keys(grown.chunks()) == [("a.jsonl", at) for at in range(9)]


def rewritten(folder: Path) -> None:
    lines(folder / "in/a.jsonl", {"prompt": "another"})


def one_more(folder: Path) -> None:
    lines(folder / "in/d.jsonl", {"prompt": "another"})


def one_less(folder: Path) -> None:
    (folder / "in/b.csv").unlink()


@pytest.mark.parametrize(
    ("change", "words"),
    [(rewritten, "a.jsonl has other content"), (one_more, "d.jsonl is new"), (one_less, "b.csv is gone")],
)
def test_shards_of_another_input_are_not_taken(tmp_path: Path, change: Callable[[Path], None], words: str) -> None:
    whole = three_files(tmp_path)
    run = begun(tmp_path, whole)
    open_shards(run, whole, of_size(100), 1)
    change(tmp_path)
    with pytest.raises(AnsweredOtherwise, match=f"was cut into shards of another input .{words}") as raised:
        open_shards(run, source(tmp_path / "in"), of_size(100), 1)
    assert raised.value.reuse == [str(run.path), "old"]
    assert raised.value.exit_code == 2


def test_shards_of_another_size_are_not_taken(tmp_path: Path) -> None:
    whole = three_files(tmp_path)
    run = begun(tmp_path, whole)
    open_shards(run, whole, EngineSpec(), 1)
    open_shards(run, whole, EngineSpec(shard_mb=64), 1)
    with pytest.raises(AnsweredOtherwise, match=r"shards of 64 MB, engine.shard_mb is 0.5 now; put that back"):
        open_shards(run, whole, EngineSpec(shard_mb=0.5), 1)


def answered(run: RunLayout, whole: Source) -> None:
    opened = open_run_directory(job_of(run.path.parent / "in", run.path, {"input.reuse": ["old"]}), whole)
    opened.store.record(result(0))
    opened.close()


def sealed(run: RunLayout, whole: Source) -> None:
    opened = open_run_directory(job_of(run.path.parent / "in", run.path, {"input.reuse": ["old"]}), whole)
    opened.store.record(result(0, "refused"))
    opened.store.finish()


def scored(run: RunLayout, whole: Source) -> None:
    opened = open_run_directory(job_of(run.path.parent / "in", run.path, {"input.reuse": ["old"]}), whole)
    opened.scores.close(last=True)


@pytest.mark.parametrize("begin", [answered, sealed, scored])
def test_a_directory_that_was_begun_without_shards_is_not_cut(
    tmp_path: Path, begin: Callable[[RunLayout, Source], None]
) -> None:
    whole = three_files(tmp_path)
    run = begun(tmp_path, whole)
    begin(run, whole)
    with pytest.raises(AnsweredOtherwise, match="begun without shards") as raised:
        open_shards(run, whole, EngineSpec(), 1)
    assert f'input.reuse = ["{run.path}", "old"]' in str(raised.value)
    assert not run.shards.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b'{"shard_mb": 64, "files": [], "shards": [[0, "a", 0, 0, 1, 1]]}',
        b'{"shard_mb": 64, "files": [], "shards": [[0]]}',
    ],
)
def test_a_file_that_no_run_wrote_is_a_fault(tmp_path: Path, content: bytes) -> None:
    run = RunLayout(tmp_path)
    run.shards.write_bytes(content)
    with pytest.raises(RunFault, match=r"shards.json: not as a run wrote it .*; restore it"):
        read_shards(run)


def test_a_directory_without_shards_has_none(tmp_path: Path) -> None:
    assert read_shards(RunLayout(tmp_path)) is None


def test_a_second_process_waits_for_the_first_and_does_not_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = three_files(tmp_path)
    run = begun(tmp_path, whole)
    cuts: list[int] = []

    def counted(source: Source, engine: EngineSpec, senders: int) -> list[Shard]:
        cuts.append(senders)
        return cut(source, engine, senders)

    monkeypatch.setattr(shards_of_runs, "cut", counted)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda senders: open_shards(run, whole, EngineSpec(), senders), range(1, 9)))
    assert len(cuts) == 1


def test_shards_of_a_directory_without_a_job_can_go(tmp_path: Path) -> None:
    """The first process was killed behind the cut, and the input is another one by now."""
    whole = three_files(tmp_path)
    run = RunLayout(tmp_path / "run")
    run.path.mkdir()
    open_shards(run, whole, of_size(100), 1)
    assert find_identity(run) is None
    one_more(tmp_path)
    with pytest.raises(RunFault, match=f"another input .d.jsonl is new.; put that back, or remove {run.shards}"):
        open_shards(run, source(tmp_path / "in"), of_size(100), 1)


def test_a_directory_of_something_else_is_not_cut(tmp_path: Path) -> None:
    whole = three_files(tmp_path)
    with pytest.raises(RunFault, match="holds in, but no run"):
        open_shards(RunLayout(tmp_path), whole, EngineSpec(), 1)
    assert not (tmp_path / "shards.json").exists()


def written_first(folder: Path) -> Iterator[None]:
    yield
    with saving(folder):
        write_first(folder / "shards.json", WHOLE)


@pytest.mark.parametrize("mishap", ["kill", "full"])
def test_a_mishap_at_any_step_leaves_no_shards_or_all(tmp_path: Path, mishap: Mishap) -> None:
    hits = hit_at_every_step("test_shards_file:written_first", mishap, tmp_path)
    assert [hit.end for hit in hits] == [
        *[{"kill": "killed", "full": "Stopped"}[mishap]] * (len(hits) - 1),
        "done",
    ]
    assert len(hits) > 3
    for hit in hits:
        path = hit.directory / "shards.json"
        assert not path.exists() or path.read_bytes() == WHOLE
        assert find_identity(RunLayout(hit.directory)) is None  # nor anything that keeps a run from beginning
        write_first(path, WHOLE)
        assert path.read_bytes() == WHOLE


def test_what_stands_there_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "shards.json"
    write_first(path, b"first")
    write_first(path, b"second")
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_shards_take_less_than_a_kilobyte_each(tmp_path: Path) -> None:
    many = 20_000
    whole = source(lines(tmp_path / "a.jsonl", *(f'{{"prompt":{at}}}' for at in range(many))))
    run = begun(tmp_path, whole)
    assert len(open_shards(run, whole, of_size(1), 1)[0]) == many
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    shards = read_shards(run)
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert shards is not None
    assert len(shards.all) == many
    assert held - before < 1024 * many
    assert most - before < 1024 * many
