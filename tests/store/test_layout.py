"""The names that scripts rely on (SPEC 7), and what of a directory is whose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchroute.store.layout import RunLayout, by_shard, fingerprints_of, layouts_of, number_of, shard_of

if TYPE_CHECKING:
    from pathlib import Path


def test_the_names_are_those_of_the_contract(tmp_path: Path) -> None:
    run = RunLayout(tmp_path)
    paths = [run.job, run.scores, run.part(7), run.journal(7), run.failed, run.report, run.success]
    assert [str(path.relative_to(tmp_path)) for path in paths] == [
        "job.toml",
        "scores",
        "results/part-00007.parquet",
        "journal-00007",
        "failed.jsonl",
        "report.json",
        "_SUCCESS",
    ]


def test_a_journal_its_part_and_the_parts_fingerprints_have_one_number(tmp_path: Path) -> None:
    run = RunLayout(tmp_path)
    part = run.part_of(run.journal(12))
    assert part == run.part(12)
    assert fingerprints_of(part) == run.requests / part.name
    assert [number_of(path) for path in (run.journal(12), part)] == [12, 12]


def test_parts_and_journals_come_in_the_order_of_their_numbers_and_unfinished_ones_do_not(tmp_path: Path) -> None:
    run = RunLayout(tmp_path)
    run.results.mkdir()
    run.scores.mkdir()
    for number in (10, 2, 1):
        for path in (run.part(number), run.journal(number), run.scores / run.part(number).name):
            path.touch()
    unfinished = tmp_path / ".part-00011.parquet.unfinished"
    unfinished.touch()
    (run.scores / unfinished.name).touch()
    assert [number_of(path) for path in run.parts()] == [1, 2, 10]
    assert [number_of(path) for path in run.journals()] == [1, 2, 10]
    assert [number_of(path) for path in run.score_parts()] == [1, 2, 10]
    assert run.unfinished_parts() == [unfinished]


def test_a_shard_has_names_of_its_own_for_what_one_process_writes(tmp_path: Path) -> None:
    run, shard = RunLayout(tmp_path), RunLayout(tmp_path, 17)
    own = [shard.lock, shard.journal(3), shard.failed, shard.ledger, shard.paid, shard.epoch, shard.done]
    assert [str(path.relative_to(tmp_path / "shards/00017")) for path in own] == [
        "lock",
        "journal-00003",
        "failed.jsonl",
        "ledger.json",
        "embeddings.journal",
        "epoch",
        "done",
    ]
    assert shard.part_of(shard.journal(3)) == run.results / "part-00017-00003.parquet"
    assert (shard.job, shard.report, shard.shards) == (run.job, run.report, tmp_path / "shards.json")
    assert run.share(0, 3).lock == tmp_path / "workers/0-of-3/lock"


def test_the_shards_of_a_run_are_found_in_order_and_a_run_without_any_is_one(tmp_path: Path) -> None:
    assert [layout.shard for layout in layouts_of(tmp_path)] == [None]
    (tmp_path / "shards.json").touch()
    for name in ("00010", "00002", "lost+found"):
        (tmp_path / "shards" / name).mkdir(parents=True)
    assert [layout.shard for layout in layouts_of(tmp_path)] == [2, 10]


def test_parts_of_a_shard_are_its_own_and_those_of_the_run_come_shard_by_shard(tmp_path: Path) -> None:
    run = RunLayout(tmp_path)
    for folder in (run.results, run.scores):
        folder.mkdir()
        for shard, number in ((2, 0), (0, 1), (0, 0), (10, 0)):
            (folder / f"part-{shard:05d}-{number:05d}.parquet").touch()
    places = [(shard_of(path), number_of(path)) for path in run.parts()]
    assert places == [(0, 0), (0, 1), (2, 0), (10, 0)]
    assert [[(shard_of(each), number_of(each)) for each in parts] for parts in by_shard(run.parts())] == [
        [(0, 0), (0, 1)],
        [(2, 0)],
        [(10, 0)],
    ]
    for parts in (RunLayout(tmp_path, 0).parts(), RunLayout(tmp_path, 0).score_parts()):
        assert [number_of(path) for path in parts] == [0, 1]
    assert RunLayout(tmp_path, 1).parts() == RunLayout(tmp_path, 1).score_parts() == []
