"""Which files an input names, in which order and under which names, and how their bytes are reached.

Local paths and URIs go the same way, through pyarrow's file systems. Knows nothing of rows.
"""

from __future__ import annotations

import fnmatch
import os
import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import fs

from batchroute.errors import InputFault
from batchroute.input.file import InputFile
from batchroute.input.names import near_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchroute.input.file import Format

_FORMATS: dict[str, Format] = {
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
}
_NAMED_FORMATS: dict[str, Format] = {
    "parquet": "parquet",
    "jsonl": "jsonl",
    "openai-batch": "jsonl",
    "csv": "csv",
    "json": "json",
}
_PACKED = (".gz", ".zst")
_PACKED_OTHERWISE = (".7z", ".br", ".bz2", ".lz4", ".lzma", ".snappy", ".xz", ".z", ".zip")
_MAGIC = re.compile(r"[*?\[]")
_URI = re.compile(r"([a-z][a-z0-9+.-]*://)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Found:
    """A file that an entry of the input matched; `base` is the entry's fixed part."""

    system: fs.FileSystem
    prefix: str
    base: str
    inner: str
    size: int

    @property
    def path(self) -> str:
        return self.prefix + self.inner

    @property
    def identity(self) -> str:
        """The same for two names of one file."""
        return self.path if self.prefix else os.path.realpath(self.inner)


def find_files(entries: Sequence[str], input_format: str, output: str | None) -> list[InputFile]:
    """The files that paths, globs, directories and URIs name: in list order, then bytewise by path, each once.

    InputFault for an entry without a match, a file whose format is unknown, and an `output` among the input.
    """
    wanted = _NAMED_FORMATS.get(input_format)
    once: dict[str, _Found] = {}
    for entry in entries:
        for found in _matches(entry, wanted, output):
            once.setdefault(found.identity, found)
    names = _names(list(once.values()))
    return [_input_file(found, name, wanted) for found, name in zip(once.values(), names, strict=True)]


def _matches(entry: str, wanted: Format | None, output: str | None) -> list[_Found]:
    system, prefix, inner = _locate(entry)
    search = _Search(system, prefix, wanted, output)
    try:
        found = list(search.expand(inner))
    except OSError as error:
        raise InputFault(f"{entry}: cannot be read: {error}") from error
    if not found:
        near = None if prefix or _MAGIC.search(inner) or os.path.exists(inner) else _near(inner)  # noqa: PTH110
        what_to_do = f"did you mean {near}?" if near else "check input.path"
        raise InputFault(f"{entry}: no input file matches; {what_to_do}")
    return sorted(found, key=lambda file: os.fsencode(file.inner))


def _near(path: str) -> str | None:
    """The file of data beside a local path that has nearly its name, or its name and an ending."""
    folder, name = os.path.split(path)
    try:
        there = sorted(other.name for other in os.scandir(folder) if _format(other.name) is not None)
    except OSError:
        return None
    return near_file(name, there)


def _locate(entry: str) -> tuple[fs.FileSystem, str, str]:
    """A path's file system, what its inner paths lack to be whole, and its inner path."""
    uri = _URI.match(entry)
    if uri is None:
        return fs.LocalFileSystem(), "", os.path.abspath(entry)  # noqa: PTH100 - globs are no paths yet
    magic = _MAGIC.search(entry)
    fixed = len(entry) if magic is None else entry.rindex("/", 0, magic.start())
    try:
        system, inner = _system_of(entry[:fixed])
    except (OSError, ValueError, ImportError) as error:
        raise InputFault(f"{entry}: cannot be reached: {error}") from error
    return system, "" if isinstance(system, fs.LocalFileSystem) else uri[1], inner + entry[fixed:]


def _system_of(uri: str) -> tuple[fs.FileSystem, str]:
    try:
        system, inner = fs.FileSystem.from_uri(uri)
    except pa.ArrowInvalid:
        # Not required: only for what pyarrow itself does not reach.
        import fsspec  # type: ignore[import-untyped]  # noqa: PLC0415

        system, inner = fsspec.core.url_to_fs(uri)
        system = fs.PyFileSystem(fs.FSSpecHandler(system))
    return system, inner


@dataclass(frozen=True, slots=True)
class _Search:
    """Where one entry looks, and for what: in directories only for files whose ending shows their format."""

    system: fs.FileSystem
    prefix: str
    wanted: Format | None
    output: str | None

    def expand(self, inner: str) -> Iterator[_Found]:
        """The files that a path or glob names; a literal name goes before a glob."""
        literal = self.system.get_file_info(inner)
        if literal.type == fs.FileType.File:
            yield _Found(self.system, self.prefix, posixpath.dirname(inner), inner, literal.size)
            return
        is_there = literal.type != fs.FileType.NotFound or self._is_link(inner)
        fixed, pattern = (inner, []) if is_there else _split_pattern(inner)
        for info in self._glob(self.system.get_file_info(fixed), pattern):
            for file in self._files(info):
                yield _Found(self.system, self.prefix, fixed, file.path, file.size)

    def _glob(self, at: fs.FileInfo, pattern: list[str]) -> Iterator[fs.FileInfo]:
        if not pattern:
            yield at
            return
        if at.type != fs.FileType.Directory:
            return
        first, rest = pattern[0], pattern[1:]
        if first == "**":
            yield from self._glob(at, rest)
        for info in self._listing(at.path):
            if info.base_name.startswith(".") and not first.startswith("."):
                continue
            if first == "**":
                yield from self._glob(info, pattern if info.type == fs.FileType.Directory else rest)
            elif fnmatch.fnmatchcase(info.base_name, first):
                yield from self._glob(info, rest)

    def _files(self, info: fs.FileInfo) -> Iterator[fs.FileInfo]:
        if info.type == fs.FileType.Directory:
            if self.output is not None and _lies_in(self.output, info.path):
                raise InputFault(
                    f"{self.output}: the output lies inside the input directory {info.path}; move one of them"
                )
            yield from self._walk(info, frozenset())
        elif info.type == fs.FileType.File:
            if self.output is not None and _lies_in(info.path, self.output):
                raise InputFault(f"{info.path}: lies inside the output directory; narrow input.path")
            yield info
        elif info.type == fs.FileType.Unknown or self._is_link(info.path):
            raise _unreadable(info)

    def _walk(self, at: fs.FileInfo, above: frozenset[str]) -> Iterator[fs.FileInfo]:
        """The data files below a directory; a link back to a directory above ends there."""
        real = os.path.realpath(at.path) if isinstance(self.system, fs.LocalFileSystem) else at.path
        if real in above:
            return
        for info in self._listing(at.path):
            if info.base_name.startswith((".", "_")):
                continue
            if info.type == fs.FileType.Directory:
                yield from self._walk(info, above | {real})
            elif self._is_data(info.path):
                if info.type != fs.FileType.File:
                    raise _unreadable(info)
                yield info

    def _is_data(self, path: str) -> bool:
        by_ending = _format(path) or _format_of_packed(path)
        return by_ending is not None and by_ending == (self.wanted or by_ending)

    def _listing(self, directory: str) -> list[fs.FileInfo]:
        infos: list[fs.FileInfo] = self.system.get_file_info(fs.FileSelector(directory))
        if isinstance(self.system, fs.LocalFileSystem):  # it leaves out links to nothing
            with os.scandir(directory) as entries:
                links = [entry.path for entry in entries if entry.is_symlink()]
            infos += self.system.get_file_info([link for link in links if not os.path.exists(link)])  # noqa: PTH110
        return infos

    def _is_link(self, inner: str) -> bool:
        return isinstance(self.system, fs.LocalFileSystem) and os.path.islink(inner)  # noqa: PTH114


def _unreadable(info: fs.FileInfo) -> InputFault:
    """What has a data file's name and cannot be read as one is never passed over."""
    if info.type == fs.FileType.NotFound:
        target = os.readlink(info.path)  # noqa: PTH115
        return InputFault(
            f"{info.path}: a link to {target}, where there is nothing; fetch that file again, or remove the link"
        )
    return InputFault(f"{info.path}: a pipe or a device, but the input is read more than once; write it to a file")


def _split_pattern(inner: str) -> tuple[str, list[str]]:
    """A glob's fixed directory and the components behind it."""
    parts = inner.split("/")
    magic = next((i for i, part in enumerate(parts) if _MAGIC.search(part)), len(parts))
    return "/".join(parts[:magic]) or "/", parts[magic:]


def _lies_in(path: str, directory: str) -> bool:
    inside, around = os.path.realpath(path), os.path.realpath(directory)
    return os.path.commonpath([inside, around]) == around


def _names(files: list[_Found]) -> list[str]:
    """Paths relative to the fixed part of the whole input; whole paths where it has none."""
    if len({(file.prefix, file.base.startswith("/")) for file in files}) > 1:
        return [_utf8(file.path) for file in files]
    base = posixpath.commonpath([file.base for file in files]) if files else ""
    return [_utf8(posixpath.relpath(file.inner, base or ".")) for file in files]


def _utf8(path: str) -> str:
    """File names need not be UTF-8, the results' strings do."""
    return os.fsencode(path).decode("utf-8", "replace")


def _format(path: str) -> Format | None:
    """What a file's ending says of its format; whether lines are packed, the file itself tells."""
    stem, ending = posixpath.splitext(path)
    if ending.lower() not in _PACKED:
        return _FORMATS.get(ending.lower())
    inner = _FORMATS.get(posixpath.splitext(stem)[1].lower())
    return None if inner == "parquet" else inner


def _format_of_packed(path: str) -> Format | None:
    """The same of a file that is packed as none is read; a directory may not lose it without a word."""
    stem, ending = posixpath.splitext(path)
    is_packed = ending.lower() in _PACKED + _PACKED_OTHERWISE
    return _FORMATS.get(posixpath.splitext(stem)[1].lower()) if is_packed else None


def _input_file(found: _Found, name: str, wanted: Format | None) -> InputFile:
    file_format = wanted or _format(found.path)
    if file_format is None:
        raise InputFault(f"{found.path}: {_without_format(found.path)}")
    if file_format == "parquet" and found.size == 0:
        raise InputFault(f"{found.path}: a Parquet file of zero bytes; its writer did not finish, write it again")
    return InputFile(found.path, name, found.size, file_format, found.system, found.inner)


def _without_format(path: str) -> str:
    if _format_of_packed(path) is not None:
        return "only gzip and zstd are unpacked, and never around Parquet; unpack it"
    return (
        "the ending does not show the format (.parquet; .jsonl, .ndjson, .json, .csv, .tsv, and these with .gz or "
        ".zst behind); "
        "set input.format"
    )
