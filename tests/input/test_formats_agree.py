"""The same rows in every format are the same rows: their places, ids, prompts, kept texts, from any position."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.errors import InputFault
from batchroute.input.chunk import Position
from batchroute.input.split import ChunkLimits
from inputs import kept, keys, lines, parquet, prompts, source

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.input.open import Source

COLUMNS = ("prompt", "id", "topic")
TEXT = st.text(max_size=30) | st.text('a"\n,;\r\t ', max_size=12)
ROWS = st.lists(st.fixed_dictionaries({name: st.none() | TEXT for name in COLUMNS}), max_size=12)
LIMITS = st.builds(ChunkLimits, rows=st.integers(1, 6), chunk_bytes=st.integers(20, 200), line_bytes=st.just(4000))


def cell(value: str | None) -> str:
    return "" if value is None else '"' + value.replace('"', '""') + '"'


def in_every_format(folder: Path, rows: list[dict[str, str | None]]) -> list[Path]:
    text = ",".join(COLUMNS) + "\n" + "".join(",".join(cell(row[name]) for name in COLUMNS) + "\n" for row in rows)
    (folder / "a.csv").write_bytes(text.encode())
    (folder / "a.json").write_text(json.dumps(rows, indent=1))
    (folder / "b.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    table = {name: [row[name] for row in rows] for name in COLUMNS}
    return [
        lines(folder / "a.jsonl", *rows),
        folder / "a.csv",
        folder / "a.json",
        folder / "b.json",
        parquet(folder / "a.parquet", table if rows else {name: [""] for name in COLUMNS}),
    ]


def read(of: Source) -> list[tuple[Any, ...]]:
    return [
        (prompt.row, prompt.id, prompt.messages, kept(prompt, of), str(prompt.refusal).rpartition(": ")[2])
        for prompt in prompts(of)
    ]


@settings(max_examples=150)
@given(ROWS, LIMITS)
def test_the_same_rows_are_read_of_every_format(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str | None]], limits: ChunkLimits
) -> None:
    folder = tmp_path_factory.mktemp("formats")
    options = {"limits": limits, "id": "id", "keep": ["topic", "prompt"]}
    of_lines, *others = (source(path, **options) for path in in_every_format(folder, rows))  # type: ignore[arg-type]
    expected = read(of_lines)
    assert len(expected) == len(rows)
    for other in others if rows else others[:-1]:
        assert read(other) == expected


@settings(max_examples=150)
@given(ROWS, LIMITS, st.data())
def test_any_place_is_one_to_go_on_from_and_to_end_at(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, str | None]],
    limits: ChunkLimits,
    data: st.DataObject,
) -> None:
    """Messages too, which name physical lines, are the same from there as from the beginning."""
    folder = tmp_path_factory.mktemp("places")
    _, a_csv, *arrays, _ = in_every_format(folder, rows)
    broken = folder / "broken.csv"
    broken.write_bytes(a_csv.read_bytes() + b'\n"x\ny",1\n\nz,\xe9,1\n"never closed\n')
    torn = folder / "torn.json"
    torn.write_bytes(arrays[0].read_bytes().rstrip()[:-1] + b', 7, {"prompt": "x"}')
    whole = source(a_csv, *arrays, broken, torn, limits=limits, id="id")
    everything = prompts(whole)
    heads = [chunk.head(n + 1).end for chunk in whole.chunks() for n in range(len(chunk.rows))]
    edges = sorted([Position(0, 0, 0), *heads, *(chunk.position for chunk in whole.chunks())])
    cut = data.draw(st.sampled_from(edges))
    before, behind = list(whole.chunks(None, cut)), list(whole.chunks(cut))
    assert keys(iter(before + behind)) == keys(whole.chunks())
    found = [prompt for chunk in before + behind for prompt in chunk.prompts(np.arange(len(chunk.rows)))]
    assert found == everything


def test_formats_may_be_mixed_in_one_folder_and_none_is_passed_over(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "id": "1", "topic": "x"}]
    in_every_format(tmp_path, rows)
    found = source(tmp_path, id="id", keep=["topic"])
    assert [file.name for file in found.files] == ["a.csv", "a.json", "a.jsonl", "a.parquet", "b.json"]
    assert [(prompt.id, kept(prompt, found)) for prompt in prompts(found)] == [("1", {"topic": "x"})] * 5
    for wanted in ("csv", "parquet"):
        assert [file.name for file in source(tmp_path, format=wanted).files] == [f"a.{wanted}"]
    with pytest.raises(InputFault, match=r'"\*" is one column of JSON, but all of other formats'):
        source(tmp_path, keep=["*"])


def test_openai_batch_stays_json_lines(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", {"custom_id": "1", "url": "/v1/chat/completions", "body": {"messages": []}})
    with (tmp_path / "b.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["custom_id", "url", "body"], ["1", "/v1/chat/completions", "{}"]])
    with pytest.raises(InputFault, match=r"b\.csv: openai-batch input is JSON lines only; take this file out"):
        source(tmp_path)
