"""The elements of one JSON array as records, cut where brackets and quotes say; what is in them is not looked at.

Each element is decoded by itself, as a line of JSON lines is. So a broken one costs one row, no more of an array
is in memory than a block of elements, and reading can begin at any of them. A parser that reports events, such as
ijson, gives none of the three: it ends at the first fault, holds a text of any length, and knows no places.

The commas between elements are passed over with the space around them; one too many or too few is no fault.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from batchroute.input.row import Unreadable
from batchroute.input.split import START, Cut, Record, State, cut_at, past

_OPENING = re.compile(rb"(?:\xef\xbb\xbf)?\s*+\[")
_GAP = re.compile(rb"[\s,]*+")
# To its closing quote, or to a backslash at the very end.
_IN_TEXT = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
# To the next bracket, or to the quote of a text that does not end here: whole texts are passed over.
_TO_MARK = re.compile(rb'[^"{}\[\]]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"[^"{}\[\]]*+)*+', re.DOTALL)
_BARE = re.compile(rb"[^\s,\]]*+")  # numbers, null, and what is no JSON at all

# Within what an element stands that has not ended; how deep is the other half of its `State`.
_NEW, _BETWEEN_TEXTS, _TEXT, _ESCAPE, _BARE_VALUE, _BEHIND_ARRAY = range(6)
_BEGINS: dict[bytes, int] = {b"{": _BETWEEN_TEXTS, b"[": _BETWEEN_TEXTS, b'"': _ESCAPE, b"]": _BEHIND_ARRAY}
_GOES_ON: dict[bytes, int] = {b'"': _BETWEEN_TEXTS, b"\\": _ESCAPE, b"": _TEXT}
_DEEPER: dict[bytes, int] = {b"{": 1, b"[": 1, b"}": -1, b"]": -1}


@dataclass(frozen=True, slots=True)
class Elements:
    """See `split.Framing`."""

    counts_lines: bool = False

    def opening(self, data: bytes) -> int:
        """See `split.Framing`: up to the first element."""
        return past(_OPENING, data, 0)

    def gap(self, data: bytes, at: int) -> int:
        """See `split.Framing`."""
        return past(_GAP, data, at)

    def cut(self, data: bytes, most: int) -> Cut:
        """See `split.Framing`."""
        starts: list[int] = []
        ends: list[int] = []
        at = 0
        while len(ends) < most:
            start = self.gap(data, at)
            at, _ = _end(data, start, START)
            if at < 0:
                break
            starts.append(start)
            ends.append(at)
        return cut_at(data, starts, ends)

    def end(self, data: bytes, state: State) -> tuple[int, State]:
        """See `split.Framing`."""
        return _end(data, 0, state)

    def last(self, data: bytes, fault: str | None) -> Record | None:
        """See `split.Framing`: the array's own end, or what stands there instead."""
        if data.startswith(b"]"):
            if fault is None and not data[1:].strip():
                return None
            return Unreadable(fault or f"what stands behind the array's end is not read: {data[1:41].strip()!r}")
        why = (
            fault or "the array has no end, its writer did not finish or the file was cut; write or fetch it again"
        )
        return Unreadable(f"{why}; the elements from here on are lost")


# By example, `{"a": "x]", "b": [1]}` from its first byte, and again as it comes in two pieces:
#
#     {                     depth 1
#     "a": "x]", "b": [     depth 2: texts are passed over whole, whatever is in them
#     1]                    depth 1
#     }                     depth 0: the end
#
#     {"a": "x              depth 1, in a text: the state with which the next piece is read
#     ]", "b": [1]}         the text ends, then as above
def _end(data: bytes, at: int, state: State) -> tuple[int, State]:
    """Where an element ends that stands at `at` in this state; else -1, and the state at the end of `data`."""
    depth, within = state
    if within == _NEW:
        within = _BEGINS.get(data[at : at + 1], _BARE_VALUE)  # a text's quote is passed over as an escape is
    if within in {_BARE_VALUE, _BEHIND_ARRAY}:
        end = past(_BARE, data, at) if within == _BARE_VALUE else len(data)
        return (end, START) if end < len(data) else (-1, (depth, within))
    while at < len(data):
        if within == _BETWEEN_TEXTS:
            at = past(_TO_MARK, data, at)
            mark = data[at : at + 1]
            depth += _DEEPER.get(mark, 0)
            within = _TEXT if mark == b'"' else _BETWEEN_TEXTS
        else:
            at = past(_IN_TEXT, data, at + (within == _ESCAPE))
            within = _GOES_ON[data[at : at + 1]]
        at += 1
        if depth == 0 and within == _BETWEEN_TEXTS:
            return at, START
    return -1, (depth, within)
