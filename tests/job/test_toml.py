from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from batchroute.errors import JobFault
from batchroute.job.toml import Document, dotted, parse_set, read_toml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchroute.job.toml import Loc

KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = st.text(max_size=20) | st.integers() | st.booleans() | st.dates() | st.floats(allow_nan=False)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=12
)


def parsed(folder: Path, text: str) -> Document:
    path = folder / "job.toml"
    path.write_bytes(text.encode())
    return read_toml(path)


def places(value: Any, loc: Loc = ()) -> Iterator[Loc]:
    if loc:
        yield loc
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*loc, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*loc, index))


DOCUMENT = r'''# a comment = 1
name = "x" # [not.a.table]
"quoted key".inner = 1
many = [
  "a", # one
  { deep = [1,
    2] },
]

[input]
template = """
[fake]
path = 3 \"""
"""
dotted.key.here = 1979-05-27 07:32:00
other = "\"it's"
[endpoints.strong]
params = { a = 1.5, "b.c" = { d = [[1], [2]] } }
[[rules]]
x = 1
[[rules]]
x = 2
[rules.sub]
y = 3
'''


def test_every_kind_of_key_has_its_line(tmp_path: Path) -> None:
    lines = {loc: place.line for loc, place in parsed(tmp_path, DOCUMENT).places.items()}
    expected: dict[Loc, int] = {
        ("name",): 2,
        ("quoted key", "inner"): 3,
        ("many",): 4,
        ("many", 0): 5,
        ("many", 1, "deep", 0): 6,
        ("many", 1, "deep", 1): 7,
        ("input",): 10,
        ("input", "template"): 11,
        ("input", "dotted", "key", "here"): 15,
        ("input", "other"): 16,
        ("endpoints", "strong"): 17,
        ("endpoints", "strong", "params", "a"): 18,
        ("endpoints", "strong", "params", "b.c", "d", 1, 0): 18,
        ("rules", 0, "x"): 20,
        ("rules", 1, "x"): 22,
        ("rules", 1, "sub", "y"): 24,
    }
    assert {loc: lines.get(loc) for loc in expected} == expected
    assert ("fake",) not in lines


@given(st.dictionaries(KEYS, VALUES, max_size=5), st.booleans())
def test_every_value_of_any_document_has_a_line(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any], windows: bool
) -> None:
    text = tomli_w.dumps(values)
    document = parsed(tmp_path_factory.mktemp("toml"), text.replace("\n", "\r\n") if windows else text)
    assert set(document.places) == set(places(document.values))
    assert all(1 <= place.line <= text.count("\n") + 1 for place in document.places.values())


@given(st.lists(KEYS, min_size=1, max_size=6, unique=True))
def test_a_key_stands_on_its_own_line(tmp_path_factory: pytest.TempPathFactory, keys: list[str]) -> None:
    text = tomli_w.dumps({"table": dict.fromkeys(keys, 0)})
    places = parsed(tmp_path_factory.mktemp("toml"), text).places
    for key in keys:
        assert tomllib.loads(text.split("\n")[places["table", key].line - 1]) == {key: 0}


def test_a_missing_key_stands_where_its_table_does(tmp_path: Path) -> None:
    document = parsed(tmp_path, "a = 1\n[endpoints.strong]\nmodel = 'x'\n")
    assert document.fault(("endpoints", "strong", "price", "input"), "missing").endswith(
        "job.toml:2: endpoints.strong.price.input: missing"
    )
    assert document.fault(("limits",), "missing").endswith("job.toml:1: limits: missing")


@pytest.mark.parametrize(
    ("text", "place"),
    [("a = 1\nb = = 2\n", ":2: "), ("a = 1\n\nb = [1,\n", ":3: "), ("a = 1\na = 2", ":2: "), ("x", ":1: ")],
)
def test_a_syntax_error_names_its_line(tmp_path: Path, text: str, place: str) -> None:
    with pytest.raises(JobFault, match="not valid TOML") as caught:
        parsed(tmp_path, text)
    assert place in str(caught.value)


def test_what_cannot_be_read_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(JobFault, match="cannot be read"):
        read_toml(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'a = "\xe9"')
    with pytest.raises(JobFault, match="UTF-8"):
        read_toml(tmp_path / "latin.toml")


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    assert parsed(tmp_path, "\ufeffname = 1").values == {"name": 1}


@pytest.mark.parametrize(
    ("text", "loc", "value"),
    [
        ("limits.drain_s=5", ("limits", "drain_s"), 5),
        ("routing.threshold = 0.5", ("routing", "threshold"), 0.5),
        ("output.raw=true", ("output", "raw"), True),
        ("output.raw=True", ("output", "raw"), "True"),
        ("input.path=data/x.jsonl", ("input", "path"), "data/x.jsonl"),
        ('input.path="data/x.jsonl"', ("input", "path"), "data/x.jsonl"),
        ('input.keep=["a", "b"]', ("input", "keep"), ["a", "b"]),
        ("endpoints.weak.simulate={}", ("endpoints", "weak", "simulate"), {}),
        ('endpoints.weak.headers."x-a"=b=c', ("endpoints", "weak", "headers", "x-a"), "b=c"),
        ("name=", ("name",), ""),
        ("name=1\nb=2", ("name",), "1\nb=2"),
        ("router.model=${HOME}/m", ("router", "model"), "${HOME}/m"),
    ],
)
def test_a_set_is_a_place_and_a_toml_value_or_a_bare_word(text: str, loc: Loc, value: object) -> None:
    assert parse_set(text) == (loc, value)


@pytest.mark.parametrize("text", ["a.b", "=1", "a b=1", "a=[1", 'a="x', "a={b", "a.=1"])
def test_a_set_that_is_none_is_refused_without_its_value(text: str) -> None:
    with pytest.raises(ValueError, match=r": .*; (write|check)"):
        parse_set(text)


def test_dotted_places_are_what_one_would_write() -> None:
    assert dotted(("input", "path", 1)) == "input.path[1]"
    assert dotted(("params", "a b", "\x1b")) == 'params."a b"."\\u001b"'
