"""A line of a job file with a caret under a place in it, where no secret can stand on that line.

Messages end up in log files, and what was pasted into a job file by mistake may be a key. A line is shown only if
each setting on it is one that never holds a secret, and nothing on it looks like a key. Knows no TOML.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_KEY = re.compile(r"""["']?([\w.-]+)["']?\s*(?:=|:\s)""")
_HEADER = re.compile(r"""\s*\[{1,2}[\w. "'-]*]*\s*(#.*)?""")
# Nobody's key is shorter; model names as long are rare enough.
_LIKE_A_SECRET = re.compile(r"(?=[A-Za-z_-]*\d)(?=[\d_-]*[A-Za-z])[\w-]{16,}")
_SHOWN_CHARS = 100


def excerpt(lines: Sequence[str], line: int, column: int, plain: frozenset[str]) -> str:
    """Line and caret, each on a line of its own that begins with a newline; empty where they are not to be shown.

    `line` and `column` count from 1; `plain` are the settings that never hold a secret, without their tables.
    """
    text = lines[line - 1] if 0 < line <= len(lines) else ""
    if not text.strip() or not _is_plain(lines[:line], plain) or _LIKE_A_SECRET.search(text):
        return ""
    start = max(0, column - _SHOWN_CHARS // 2) if len(text) > _SHOWN_CHARS else 0
    shown = "".join(char if char.isprintable() else " " for char in text[start : start + _SHOWN_CHARS])
    caret = " " * sum(map(_width, shown[: column - 1 - start])) + "^"
    return f"\n    {shown.rstrip()}\n    {caret}"


def _is_plain(lines: Sequence[str], plain: frozenset[str]) -> bool:
    """Whether the last of these lines holds plain settings only, be it in the middle of one that began before."""
    if _HEADER.fullmatch(lines[-1]):
        return True
    for text in reversed(lines):
        if names := [name.rpartition(".")[2] for name in _KEY.findall(text)]:
            return plain.issuperset(names)
        if _HEADER.fullmatch(text):
            return False
    return False


def _width(char: str) -> int:
    """Columns it takes in a terminal."""
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
