"""The names that scripts rely on (SPEC 7), and what of a directory is whose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchroute.store.layout import RunLayout, fingerprints_of, number_of

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
