"""TOML with places: the line of the file, or the flag, that every setting came from.

Knows TOML and nothing of jobs. The standard parser gives values without places; the scanner here gives places
without values, and may presuppose a document that the parser has accepted.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from batchroute.errors import JobFault
from batchroute.job.excerpt import excerpt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

Loc: TypeAlias = tuple[str | int, ...]

FROM_FLAG = 0  # in place of a line


class Place(NamedTuple):
    """Where in a file something begins, both counted from 1."""

    line: int
    column: int = 1


_SYNTAX_ADVICE = {
    "Invalid value": 'write a text in straight quotes, "so", a truth as true or false, a number with a point',
    "Unescaped '\\' in a string": "write a text with backslashes in single quotes, or each of them twice",
    "Cannot declare": "a table stands once in a file: put its settings together",
    "Cannot overwrite a value": "a setting stands once: remove one of the two",
    "Expected newline or end of document after a statement": "write one setting a line, and numbers as 0.5",
}
# Strings come before marks and comments: a `#` or a bracket within quotes is text.
_TOKEN = re.compile(
    r"""(?P<skip>[ \t\r]+|\#[^\n]*)
    | (?P<newline>\n)
    | (?P<string>\"{3}(?:[^\\]|\\.)*?\"{3,5} | '{3}.*?'{3,5} | "(?:[^"\\]|\\.)*" | '[^']*')
    | (?P<mark>[][{},.=])
    | (?P<bare>[^][{},.=\s\#"']+)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed TOML file, with what flags have changed in it.

    `text` are the file's lines, `plain` the names of settings whose values may be shown; `flag` is what
    messages call a change.
    """

    name: str
    values: dict[str, Any]
    places: dict[Loc, Place]
    text: Sequence[str] = ()
    plain: frozenset[str] = frozenset()
    flag: str = "--set"

    def line(self, loc: Loc) -> int:
        """Where `loc` was written, 0 for a flag; a key that is missing stands where its table does.

        A table that has no line of its own, because only flags filled it, is theirs.
        """
        return self._place(loc).line

    def fault(self, loc: Loc, what: str) -> str:
        """One entry of a JobFault, with its line where it is but one thing on it."""
        line, column = self._place(loc)
        if line == FROM_FLAG:
            return f"{self.flag} {dotted(loc)}: {what}"
        is_inside = bool(self.text[line - 1 : line]) and bool(self.text[line - 1][: column - 1].strip())
        shown = excerpt(self.text, line, column, self.plain) if is_inside else ""
        return f"{self.name}:{line}: {dotted(loc)}: {what}{shown}"

    def _place(self, loc: Loc) -> Place:
        if loc not in self.places and any(known[: len(loc)] == loc for known in self.places):
            return Place(FROM_FLAG)
        known = (self.places[loc[:n]] for n in range(len(loc), 0, -1) if loc[:n] in self.places)
        return next(known, Place(1))

    def override(self, loc: Loc, value: Any) -> None:
        """Put `value` at `loc`, as a flag does. Raises TypeError where something on the way is no table."""
        table = self.values
        for key in loc[:-1]:
            table = table.setdefault(str(key), {})
            if not isinstance(table, dict):
                raise TypeError(f"{dotted(loc)}: {key} is no table; set {key} itself")
        table[str(loc[-1])] = value
        for known in [known for known in self.places if known[: len(loc)] == loc]:
            del self.places[known]
        self.places[loc] = Place(FROM_FLAG)

    def remove(self, loc: Loc) -> None:
        """Forget the setting at `loc`, if it is there."""
        table: Any = self.values
        for key in loc[:-1]:
            table = table.get(key) if isinstance(table, dict) else None
        if isinstance(table, dict):
            table.pop(loc[-1], None)


def dotted(loc: Loc) -> str:
    """A place as one would write it: `endpoints.strong.params`, `input.path[1]`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{_key(part)}" for part in loc)
    return "".join(parts).removeprefix(".")


def _key(part: str) -> str:
    return part if re.fullmatch(r"[\w-]+", part, re.ASCII) else json.dumps(part)


def read_toml(path: Path, plain: frozenset[str] = frozenset()) -> Document:
    """The file's values and their places. Raises JobFault when it cannot be read or is no TOML.

    `plain` are the names of settings whose values may be shown in a message.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise JobFault([f"{path}:1: is not UTF-8 text; save it as UTF-8"]) from None
    except OSError as error:
        raise JobFault([f"{path}: cannot be read ({error.strerror}); name a job file"]) from None
    lines = text.split("\n")
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise JobFault([_syntax_fault(path, lines, str(error), plain)]) from None
    return Document(str(path), values, _Scanner(deque(_tokens(text))).document(), lines, plain)


def _syntax_fault(path: Path, lines: Sequence[str], message: str, plain: frozenset[str]) -> str:
    what, _, place = message.partition(" (at ")
    found = re.search(r"line (\d+), column (\d+)", place)
    if found is None:
        last = max((number for number, text in enumerate(lines, 1) if text.strip()), default=1)
        shown = excerpt(lines, last, len("".join(lines[last - 1 : last]).rstrip()) + 1, plain)
        return f"{path}:{last}: not valid TOML: {what} at the end of the file; complete it{shown}"
    line, column = int(found[1]), int(found[2])
    advice = next((words for begin, words in _SYNTAX_ADVICE.items() if what.startswith(begin)), "fix this line")
    shown = excerpt(lines, line, column, plain)
    return f"{path}:{line}: not valid TOML: {what} at column {column}; {advice}{shown}"


def parse_set(text: str) -> tuple[Loc, Any]:
    """`section.key=value` as place and value; a bare word is a string.

    Raises ValueError, its text `key: what, and what to do`; the value is never in it.
    """
    key, equals, value = text.partition("=")
    shown = ".".join(_key(part) for part in key.strip().split("."))
    if not equals:
        raise ValueError(f"{shown}: has no value; write --set section.key=value")
    loc = parse_key(key)
    if loc is None:
        raise ValueError(f"{shown}: is no key; write --set section.key=value")
    try:
        return loc, _toml_value(value.strip())
    except tomllib.TOMLDecodeError:
        raise ValueError(f"{dotted(loc)}: has no valid TOML value; check its quotes, also the shell's") from None


def parse_key(text: str) -> Loc | None:
    """`section.key` as a place; None for what is no key."""
    try:
        return _only_leaf(tomllib.loads(f"{text} = 0"))[0]
    except (tomllib.TOMLDecodeError, ValueError):
        return None


def _toml_value(text: str) -> Any:
    try:
        values = tomllib.loads(f"v = {text}")
    except tomllib.TOMLDecodeError:
        if text.startswith(("[", "{", '"', "'")):
            raise
        return text
    return values["v"] if values.keys() == {"v"} else text


def _only_leaf(tree: Any) -> tuple[Loc, Any]:
    """Raises ValueError where the tree holds more than one value."""
    loc: list[str] = []
    while isinstance(tree, dict):
        [(key, tree)] = tree.items()
        loc.append(key)
    return tuple(loc), tree


def _tokens(text: str) -> Iterator[tuple[str, str, Place]]:
    """(kind, text, place) of everything but blanks and comments."""
    line, begin = 1, 0
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup or ""
        if kind != "skip":
            yield kind, found[0], Place(line, found.start() - begin + 1)
        if newlines := found[0].count("\n"):
            line, begin = line + newlines, found.start() + found[0].rindex("\n") + 1


# What it makes of a document, a line of TOML and what it adds to `places`, here without columns:
#
#     1  [endpoints.strong]                ("endpoints",): 1, ("endpoints", "strong"): 1
#     2  params = { n = 1 }                (..., "params"): 2, (..., "params", "n"): 2
#     3  [input]                           ("input",): 3
#     4  path = [                          ("input", "path"): 4
#     5    "a.jsonl",                      ("input", "path", 0): 5
#
# A fault of endpoints.strong.model, which is missing, is then shown at line 1, where its table begins.
@dataclass(slots=True)
class _Scanner:
    """One pass over the tokens of a valid document; `places` grows as keys go by."""

    tokens: deque[tuple[str, str, Place]]
    places: dict[Loc, Place] = field(default_factory=dict)
    arrays: dict[Loc, int] = field(default_factory=dict)

    def document(self) -> dict[Loc, Place]:
        table: Loc = ()
        while self._skip_newlines():
            if self.tokens[0][1] == "[":
                table = self._header()
            else:
                self._pair(table)
        return self.places

    def _skip_newlines(self) -> bool:
        while self.tokens and self.tokens[0][0] == "newline":
            self.tokens.popleft()
        return bool(self.tokens)

    def _take(self, mark: str) -> bool:
        if self.tokens and self.tokens[0][:2] == ("mark", mark):
            self.tokens.popleft()
            return True
        return False

    def _header(self) -> Loc:
        place = self.tokens.popleft()[2]
        is_array = self._take("[")
        loc = self._key((), place, is_array=is_array)
        while self._take("]"):
            pass
        return loc

    def _key(self, table: Loc, place: Place, *, is_array: bool = False) -> Loc:
        """The place named by a dotted key in `table`; [[arrays]] of tables mean their last entry."""
        loc = table
        while True:
            kind, text, _ = self.tokens.popleft()
            loc = (*loc, tomllib.loads(f"k = {text}")["k"] if kind == "string" else text)
            self.places.setdefault(loc, place)
            more = self._take(".")
            if is_array and not more:
                self.arrays[loc] = self.arrays.get(loc, -1) + 1
            if loc in self.arrays:
                loc = (*loc, self.arrays[loc])
                self.places.setdefault(loc, place)
            if not more:
                return loc

    def _pair(self, table: Loc) -> None:
        loc = self._key(table, self.tokens[0][2])
        self._take("=")
        self._value(loc)

    def _value(self, loc: Loc) -> None:
        if self._take("["):
            self._array(loc)
        elif self._take("{"):
            self._inline_table(loc)
        else:
            while self.tokens and self.tokens[0][0] != "newline" and self.tokens[0][1] not in {",", "]", "}"}:
                self.tokens.popleft()

    def _array(self, loc: Loc) -> None:
        index = 0
        while self._skip_newlines() and not self._take("]"):
            if self._take(","):
                continue
            self.places[*loc, index] = self.tokens[0][2]
            self._value((*loc, index))
            index += 1

    def _inline_table(self, loc: Loc) -> None:
        while self._skip_newlines() and not self._take("}"):
            if not self._take(","):
                self._pair(loc)
