"""Where rows of plain JSON lines begin, at about equal distances, each with its number: in one parallel pass.

Reads bytes and looks for `\\n`, in several threads, as NumPy and pyarrow hold no lock meanwhile. Decodes nothing,
and knows nothing of shards.

By example, the marks every 20 bytes and every 10 rows of this file of 53 are the rows 0 and 3, and its end:

    byte  0   {"prompt":"a"}\n         row 0: the first that begins in bytes 0 to 19
    byte 15   \n                       blank: it uses row number 1 and makes no row
    byte 16   {"prompt":"b b b b"}\n   row 2
    byte 37   {"prompt":"c c"}          row 3: the first that begins in bytes 20 to 39

A line belongs to the block that is read where it begins. Where it ends matters only if it is blank so far.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batchroute.input.split import BOM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from batchroute.input.file import FileHead, InputFile

_BLOCK_BYTES = 8 << 20
_THREADS = 8  # a block of 500,000 rows holds some 30 MB, and each thread has one or two
_NEWLINE = ord("\n")
_IS_SPACE = np.isin(np.arange(256), list(b" \t\n\r\v\f"))  # as bytes.isspace has it


class Mark(NamedTuple):
    """The beginning of a row, or the end of the file: how many bytes, lines and rows come before it."""

    offset: int
    lines: int
    rows: int


@dataclass(frozen=True, slots=True)
class _Block:
    """How many lines begin in a block; of the n that make rows, the offsets in the file and the numbers [n]."""

    lines: int
    offsets: NDArray[np.int64]
    numbers: NDArray[np.int64]


def marks(file: InputFile, every_bytes: int, every_rows: int, line_bytes: int) -> Iterator[Mark]:
    """The first row that begins in each stretch of so many bytes, and of so many rows; the end of the file.

    A line longer than `line_bytes` makes a row whatever it holds. Raises as `FileHead.read`.
    """
    lines = rows = 0
    stretch = -1
    for block in _blocks(file, line_bytes):
        stretches = block.offsets // every_bytes
        by_rows = (rows + np.arange(len(stretches))) % every_rows == 0
        for at in np.flatnonzero((np.diff(stretches, prepend=stretch) > 0) | by_rows).tolist():
            yield Mark(int(block.offsets[at]), lines + int(block.numbers[at]), rows + at)
        stretch = int(stretches[-1]) if len(stretches) else stretch
        lines, rows = lines + block.lines, rows + len(stretches)
    yield Mark(file.size, lines, rows)


def _blocks(file: InputFile, line_bytes: int) -> Iterator[_Block]:
    """All of a file in order, read a few blocks ahead."""
    starts = iter(range(0, file.size, _BLOCK_BYTES))
    with ThreadPoolExecutor(_THREADS) as pool:
        ahead = deque(pool.submit(_block, file, line_bytes, at) for at in islice(starts, 2 * _THREADS))
        while ahead:
            yield ahead.popleft().result()
            ahead.extend(pool.submit(_block, file, line_bytes, at) for at in islice(starts, 1))


def _block(file: InputFile, line_bytes: int, start: int) -> _Block:
    data = _with_neighbours(file, start)
    text = np.frombuffer(data, np.uint8)
    begins = np.flatnonzero(text[:-2] == _NEWLINE) + 1
    offsets = start + begins - 1
    if start == 0 and data.startswith(BOM, 1):
        begins[0] += len(BOM)
    numbers = np.arange(len(begins))
    if _IS_SPACE[text[begins]].any():
        filled = np.logical_or.reduceat(~_IS_SPACE[text], begins)
        if not filled[-1] and data.find(b"\n", begins[-1]) == len(data) - 1:
            filled[-1] = _is_row(file, start + int(begins[-1]) - 1, line_bytes)
        numbers = np.flatnonzero(filled)
    return _Block(len(begins), offsets[numbers], numbers)


def _with_neighbours(file: InputFile, start: int) -> bytes:
    """The byte before a block, the block, and a newline: behind the first comes a line's beginning."""
    with file.open() as head:
        head.seek(max(start - 1, 0))
        before = _exactly(head, 1) if start else b"\n"
        return b"".join((before, _exactly(head, min(_BLOCK_BYTES, file.size - start)), b"\n"))


def _exactly(head: FileHead, size: int) -> bytes:
    data = head.read(size)
    while len(data) < size:
        data += head.read(size - len(data))
    return data


def _is_row(file: InputFile, offset: int, line_bytes: int) -> bool:
    """Whether a line that is blank as far as its block goes makes a row."""
    size = 0
    with file.open() as head:
        head.seek(offset)
        while size <= line_bytes and (block := head.read(_BLOCK_BYTES)):
            blank, newline, _ = block.partition(b"\n")
            size += len(blank) + len(newline)
            if newline or blank.strip():
                return bool(blank.strip()) or size > line_bytes
    return size > line_bytes
