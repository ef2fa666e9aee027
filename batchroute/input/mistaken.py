"""What a file is that was taken for something else, by what it begins with, and what to do about it."""

from __future__ import annotations

import re

from batchroute.input.elements import Elements
from batchroute.input.split import START

_SIGNATURES = [
    (re.compile(rb"PAR1"), 'it is a Parquet file: name it .parquet, or set input.format = "parquet"'),
    (re.compile(rb"\x1f\x8b|\x28\xb5\x2f\xfd"), "it was packed twice: unpack it once"),
    (
        re.compile(rb"PK\x03\x04.{26}(?:\[Content_Types|_rels|xl/)", re.DOTALL),
        "it is an Excel workbook: save it as CSV UTF-8",
    ),
    (
        re.compile(rb"BZh|\xfd7zXZ|PK\x03\x04|\x04\x22\x4d\x18|7z\xbc\xaf"),
        "unpack it: only gzip and zstd are read",
    ),
    (re.compile(rb"\x00\x00"), "it holds zeros: write it again"),
    (re.compile(rb"\xff\xfe|\xfe\xff|.?\x00", re.DOTALL), "it is UTF-16: iconv -f UTF-16 -t UTF-8 OLD > NEW"),
]


def as_what(head: bytes) -> str | None:
    """What it is and how it can be read; None where it may be the text that it was taken for."""
    return next((words for pattern, words in _SIGNATURES if pattern.match(head)), None)


# What a file begins with none of whose lines is a row, and what to do about it.
_NO_LINES = [
    (re.compile(rb"\s*\["), "an array is no JSON lines, write one object a line: jq -c '.[]' OLD > NEW"),
    (re.compile(rb"\s*\{\s*'"), "Python's dicts are no JSON: write each with json.dumps"),
    (re.compile(rb"\s*\{"), "write each object on a line of its own, as UTF-8: jq -c . OLD > NEW"),
    (
        re.compile(rb""),
        'write one JSON object a line, such as {"prompt": "..."}; if it is CSV, name it .csv',
    ),
]
_KEY = re.compile(rb'[\s,]*+"((?:[^"\\]|\\.)*+)"\s*+:\s*+', re.DOTALL)
_ROWS = re.compile(rb"\[\s*+\{")
# {"prompt": {"0": "a", "1": "b"}}, as pandas writes by default, or {"columns": ["prompt"], "data": [["a"]]}.
_COLUMNS = re.compile(rb'\s*+\{\s*+(?:"(?:[^"\\]|\\.)*+"\s*+:\s*+\{\s*+"0"\s*+:|"columns"\s*+:\s*+\[)', re.DOTALL)


def as_lines(first: bytes) -> str:
    """What to do with text none of whose lines is a row, the first of which is this."""
    return next(words for pattern, words in _NO_LINES if pattern.match(first))


def by_columns(head: bytes) -> str | None:
    """What to do with one object, which begins so, where it holds a table column by column."""
    if _COLUMNS.match(head) is None:
        return None
    return 'it holds columns, not rows; of pandas: df.to_json(PATH, orient="records", lines=True)'


def with_rows_in(head: bytes) -> str | None:
    """What to do with one object, which begins so, where one of its fields is an array of objects."""
    text = head.lstrip()
    at = 1 if text.startswith(b"{") else len(text)
    while (key := _KEY.match(text, at)) is not None:
        if _ROWS.match(text, key.end()):
            name = key[1].decode("utf-8", "replace")
            return f"its rows stand in {name!r}, write them one a line: jq -c '.[\"{name}\"][]' OLD > NEW"
        length, _ = Elements().end(text[key.end() :], START)
        at = key.end() + length if length >= 0 else len(text)
    return None
