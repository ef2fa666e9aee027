"""Which files an input names, in which order and under which names, and what is wrong with them at once."""

from __future__ import annotations

import glob
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.errors import InputFault, Stopped
from inputs import lines, parquet, prompts, source, user_texts


def tree(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines(path, {"prompt": name})


def names(*paths: Path, **settings: Any) -> list[str]:
    return [file.name for file in source(*paths, **settings).files]


def test_a_single_file_goes_by_its_name(tmp_path: Path) -> None:
    tree(tmp_path, "deep/a.jsonl")
    of = source(tmp_path / "deep/a.jsonl")
    assert [(file.name, file.path, file.size) for file in of.files] == [
        ("a.jsonl", str(tmp_path / "deep/a.jsonl"), (tmp_path / "deep/a.jsonl").stat().st_size)
    ]
    assert [prompt.file for prompt in prompts(of)] == ["a.jsonl"]


def test_directories_are_read_recursively_and_bytewise(tmp_path: Path) -> None:
    tree(tmp_path, "b.jsonl", "a/z.ndjson", "a.jsonl", "B.jsonl", "é.jsonl", "_x/a.jsonl", ".h.jsonl", "_a.jsonl")
    (tmp_path / "README.md").write_text("no data")
    assert names(tmp_path) == ["B.jsonl", "a.jsonl", "a/z.ndjson", "b.jsonl", "é.jsonl"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jsonl", ["a.jsonl", "b.jsonl"]),
        ("*/*.jsonl", ["d/a.jsonl", "e/a.jsonl"]),
        ("**/a.jsonl", ["a.jsonl", "d/a.jsonl", "d/f/a.jsonl", "e/a.jsonl"]),
        ("d/**/*.jsonl", ["a.jsonl", "f/a.jsonl"]),
        ("[de]/a.jsonl", ["d/a.jsonl", "e/a.jsonl"]),
        ("d*", ["d/a.jsonl", "d/f/a.jsonl"]),
        ("?.jsonl", ["a.jsonl", "b.jsonl"]),
    ],
)
def test_globs_name_files_relative_to_their_fixed_part(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    tree(tmp_path, "a.jsonl", "b.jsonl", "d/a.jsonl", "d/f/a.jsonl", "e/a.jsonl", ".h/a.jsonl")
    assert names(tmp_path / pattern) == expected


NAMES = st.sampled_from(["x.jsonl", "a.jsonl", "b.ndjson"])
FOLDERS = st.lists(st.sampled_from("abc"), max_size=3)
TREES = st.sets(
    st.builds(lambda folders, name: "/".join([*folders, name]), FOLDERS, NAMES), min_size=1, max_size=9
)
PATTERNS = st.builds(
    lambda folders, last: "/".join([*folders, last]),
    st.lists(st.sampled_from(["*", "a", "[ab]", "?", "**"]), max_size=3),
    st.sampled_from(["*", "*.jsonl", "a*", "**", "x.jsonl", "[!x].ndjson"]),
)


@given(TREES, PATTERNS)
def test_globs_find_what_a_shell_finds_each_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, files: set[str], pattern: str
) -> None:
    """By Python's own glob, whose directories are read whole."""
    root = tmp_path_factory.mktemp("tree")
    tree(root, *files)
    shell = glob.glob(pattern, root_dir=root, recursive=True)  # noqa: PTH207 - Path.glob reads `**` otherwise
    matches = [root / match for match in shell]
    expected = {inner for match in matches for inner in (match, *match.rglob("*")) if inner.is_file()}
    if not expected:
        with pytest.raises(InputFault, match="no input file matches"):
            source(root / pattern)
        return
    found = source(root / pattern)
    assert [Path(file.path) for file in found.files] == sorted(expected, key=os.fsencode)
    assert len({file.name for file in found.files}) == len(expected)
    assert all(file.path.endswith(f"/{file.name}") for file in found.files)


def test_a_name_with_glob_characters_can_be_a_file(tmp_path: Path) -> None:
    tree(tmp_path, "a[1].jsonl", "a1.jsonl")
    assert names(tmp_path / "a[1].jsonl") == ["a[1].jsonl"]


def test_lists_keep_their_order_and_count_a_file_once(tmp_path: Path) -> None:
    tree(tmp_path, "x/a.jsonl", "x/b.jsonl", "y/a.jsonl")
    (tmp_path / "y/link.jsonl").symlink_to(tmp_path / "x/a.jsonl")
    found = source(tmp_path / "y/a.jsonl", tmp_path / "x", tmp_path / "y", tmp_path / "x" / ".." / "x" / "b.jsonl")
    assert [file.name for file in found.files] == ["y/a.jsonl", "x/a.jsonl", "x/b.jsonl"]
    assert user_texts(found) == ["y/a.jsonl", "x/a.jsonl", "x/b.jsonl"]


def test_a_link_back_up_does_not_go_round_for_ever(tmp_path: Path) -> None:
    tree(tmp_path, "a/a.jsonl")
    (tmp_path / "a/again").symlink_to(tmp_path)
    assert names(tmp_path) == ["a/a.jsonl"]


@pytest.mark.parametrize("entries", [["data"], ["data/*.jsonl"], ["data/d"], ["d*"], ["data/d/gone.jsonl"]])
@pytest.mark.parametrize("target", ["../../blobs/2", "gone.jsonl"])
def test_a_link_to_nothing_is_never_passed_over(tmp_path: Path, entries: list[str], target: str) -> None:
    """As a cache has them whose file was never fetched, or was removed; one may even lead to itself."""
    tree(tmp_path, "data/a.jsonl", "data/d/b.jsonl")
    for name in ("gone.jsonl", "d/gone.jsonl", "README.md", ".gone.jsonl", "_gone.jsonl"):
        (tmp_path / "data" / name).symlink_to(target)
    with pytest.raises(InputFault, match=rf"gone\.jsonl: a link to {target}, where there is nothing; fetch"):
        source(*(tmp_path / entry for entry in entries))


def test_links_to_nothing_that_no_input_is_called_do_not_matter(tmp_path: Path) -> None:
    tree(tmp_path, "data/a.jsonl")
    for name in ("README.md", ".gone.jsonl", "_gone.jsonl"):
        (tmp_path / "data" / name).symlink_to("nowhere")
    assert names(tmp_path / "data") == ["a.jsonl"]
    with pytest.raises(InputFault, match=r"README\.md: a link to nowhere"):
        source(tmp_path / "data/R*")


@pytest.mark.parametrize("name", ["b.jsonl.xz", "b.ndjson.BZ2", "b.jsonl.zip", "b.parquet.gz", "b.parquet.zst"])
def test_data_that_is_packed_as_none_is_read_is_never_passed_over(tmp_path: Path, name: str) -> None:
    tree(tmp_path, "data/a.jsonl", f"data/d/{name}", "data/c.jsonl.bak", "data/c.xz")
    for entry in ("data", "data/d/*", f"data/d/{name}"):
        with pytest.raises(InputFault, match=rf"{name}: only gzip and zstd are unpacked, .*; unpack it"):
            source(tmp_path / entry)
    (tmp_path / "data/d" / name).unlink()
    assert names(tmp_path / "data") == ["a.jsonl"]


@pytest.mark.parametrize("entry", ["data", "data/*", "data/pipe.jsonl"])
def test_a_pipe_is_no_input_as_it_can_be_read_only_once(tmp_path: Path, entry: str) -> None:
    tree(tmp_path, "data/a.jsonl")
    os.mkfifo(tmp_path / "data/pipe.jsonl")
    with pytest.raises(InputFault, match=r"pipe\.jsonl: a pipe or a device, .*; write it to a file"):
        source(tmp_path / entry)


def test_a_uri_is_reached_as_a_path_is(tmp_path: Path) -> None:
    tree(tmp_path, "a.jsonl", "b.jsonl")
    found = source(f"file://{tmp_path}/*.jsonl", tmp_path / "a.jsonl")  # type: ignore[arg-type]
    assert [file.name for file in found.files] == ["a.jsonl", "b.jsonl"]
    assert user_texts(found) == ["a.jsonl", "b.jsonl"]


def test_what_pyarrow_does_not_reach_fsspec_may() -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    with memory.open("/batchroute/d/a.jsonl", "wb") as file:
        file.write(b'{"prompt": "a"}\n')
    found = source("memory://batchroute/d")  # type: ignore[arg-type]
    assert [(file.name, file.path) for file in found.files] == [("a.jsonl", "memory:///batchroute/d/a.jsonl")]
    assert user_texts(found) == ["a"]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("gone.jsonl", "gone.jsonl: no input file matches"),
        ("*.nothing", "no input file matches"),
        ("empty", "no input file matches"),
        ("a.txt", "the ending does not show the format"),
        ("zero.parquet", "a Parquet file of zero bytes"),
        ("text.parquet", "not a readable Parquet file"),
        ("nowhere://x/y", "cannot be reached"),
    ],
)
def test_files_that_cannot_be_input_are_faults(tmp_path: Path, path: str, why: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "zero.parquet").touch()
    for name in ("a.txt", "text.parquet"):
        (tmp_path / name).write_text("no data")
    with pytest.raises(InputFault, match=why):
        source(path if "://" in path else tmp_path / path)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("promts.jsonl", "prompts.jsonl"),
        ("prompts", "prompts.jsonl"),
        ("prompts.json", "prompts.jsonl"),
        ("shet.csv", "sheet.csv.gz"),
        ("elsewhere.parquet", None),
        ("gone/prompts.jsonl", None),
        ("promts*.jsonl", None),  # a pattern is no name
        ("prompts.d", None),  # it is there, and empty
    ],
)
def test_the_file_that_was_meant_is_named(tmp_path: Path, path: str, meant: str | None) -> None:
    tree(tmp_path, "prompts.jsonl", "sheet.csv.gz")
    (tmp_path / "prompts.toml").touch()  # a job is no data
    (tmp_path / "prompts.d").mkdir()
    what_to_do = "check input.path" if meant is None else f"did you mean {meant}?"
    with pytest.raises(InputFault, match="no input file matches; " + re.escape(what_to_do)):
        source(tmp_path / path)


def test_a_named_format_reads_any_ending(tmp_path: Path) -> None:
    path = lines(tmp_path / "data.txt", {"prompt": "a"})
    assert user_texts(source(path, format="jsonl")) == ["a"]


def test_a_named_format_passes_over_other_files_in_directories(tmp_path: Path) -> None:
    tree(tmp_path, "a.jsonl.d/b.jsonl")
    parquet(tmp_path / "c.parquet", {"prompt": ["c"]})
    assert names(tmp_path, format="jsonl") == ["a.jsonl.d/b.jsonl"]
    assert names(tmp_path, format="parquet") == ["c.parquet"]


def test_output_inside_an_input_directory_is_a_fault(tmp_path: Path) -> None:
    tree(tmp_path, "data/a.jsonl")
    with pytest.raises(InputFault, match="inside the input directory"):
        source(tmp_path / "data", output=tmp_path / "data/runs/1")
    with pytest.raises(InputFault, match="inside the input directory"):
        source(tmp_path / "d*", output=tmp_path / "data")
    assert names(tmp_path / "data", output=tmp_path / "data-runs") == ["a.jsonl"]
    assert names(tmp_path / "data/a.jsonl", output=tmp_path / "data/run") == ["a.jsonl"]


def test_results_of_the_run_itself_are_no_input(tmp_path: Path) -> None:
    tree(tmp_path, "runs/1/results/a.jsonl", "runs/2/results/a.jsonl")
    with pytest.raises(InputFault, match="inside the output"):
        source(tmp_path / "runs/*/results/*.jsonl", output=tmp_path / "runs/1")


def test_a_missing_or_unfit_column_is_a_fault_that_names_those_there_are(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", {"text": ["a"], "n": [1]})
    with pytest.raises(InputFault, match=r"a\.parquet: no column 'prompt'; it has text, n"):
        source(path)
    with pytest.raises(InputFault, match="column 'n' is int64, but text is wanted"):
        source(path, prompt="n")
    with pytest.raises(InputFault, match="column 'n' is int64, but a list of numbers is wanted"):
        source(path, prompt="text", vector_column="n")


def test_a_parquet_column_of_which_there_are_two_is_a_fault(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["prompt", "prompt"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputFault, match="several columns are called 'prompt'; rename all but one"):
        source(tmp_path / "a.parquet")


@pytest.mark.skipif(sys.platform != "linux", reason="a file whose first byte cannot be read")
def test_a_read_that_fails_stops_the_run_and_names_the_file(tmp_path: Path) -> None:
    """A process's own memory has no byte 0: reading it is an I/O error, as of a disk or a mount that went away."""
    path = tmp_path / "a.jsonl"
    path.symlink_to("/proc/self/mem")
    of = source(path, format="jsonl")
    of = replace(of, files=[replace(of.files[0], size=9)])  # the system calls it empty
    with pytest.raises(Stopped, match=r"a\.jsonl: cannot be read any further: .*; run again to go on"):
        list(of.chunks())


def test_batch_lines_and_parquet_do_not_mix(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", {"prompt": ["a"]})
    with pytest.raises(InputFault, match="openai-batch input is JSON lines only"):
        source(path, lines(tmp_path / "b.jsonl", {"custom_id": "c", "url": "u", "body": {}}))
