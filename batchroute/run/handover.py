"""Rows on their way from one endpoint to another because of an answer: they wait on disk, not in memory.

A row takes all with it that its request needs, so that the input is not read again. Knows which rows may move;
why one does was decided in `route/next`.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from typing import TYPE_CHECKING

import msgspec

from batchroute.route.sides import longest_input
from batchroute.run.feed import RequestWriter
from batchroute.send.request import Request
from batchroute.send.tokens import estimate_tokens
from batchroute.store.files import saving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from batchroute.job.prices import Target
    from batchroute.job.spec import Endpoints

_LENGTH_BYTES = 8


class Spool:
    """A queue of requests in a file without a name, which goes with the process; first in, first out."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with saving(folder):
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed by `close`
        self._read_at = self._end = 0
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Request).decode

    def __len__(self) -> int:
        """Bytes that wait."""
        return self._end - self._read_at

    def put(self, request: Request) -> None:
        """Stopped where the disk takes no more."""
        record = self._encode(request)
        with saving(self._folder):
            _write_all(self._file.fileno(), len(record).to_bytes(_LENGTH_BYTES) + record, self._end)
        self._end += _LENGTH_BYTES + len(record)

    def take(self) -> Request:
        """The oldest; there must be one."""
        descriptor = self._file.fileno()
        size = int.from_bytes(os.pread(descriptor, _LENGTH_BYTES, self._read_at))
        request = self._decode(os.pread(descriptor, size, self._read_at + _LENGTH_BYTES))
        self._read_at += _LENGTH_BYTES + size
        if self._read_at == self._end:
            self._read_at = self._end = 0  # written over from here on: the file is as long as the queue ever was
        return request

    def close(self) -> None:
        self._file.close()


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    """A disk that is nearly full takes a part of it before it fails."""
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


class HandOver:
    """The rows that each endpoint has to take from the others.

    An endpoint's own rows are those of its feed. Each row moves once at most, so an endpoint has seen its last
    when the others' own rows are all settled.
    """

    # Worked example: both endpoints send answers that are cut on to the other. The weak one has asked its own rows
    # and waits; the strong one has 3 of its own in flight. One comes back cut: it goes to the weak spool, the weak
    # lane wakes and asks it. When the other two are settled, nothing can come to the weak lane any more, so its
    # feed ends; the strong lane's ends when the weak one's own rows are settled, which they are.

    def __init__(
        self, endpoints: Endpoints, targets: Mapping[str, Target], folder: Path, shard: int, *, reserves: bool
    ) -> None:
        """`folder` is for what waits; `reserves`: a budget has to hold for each request."""
        self._longest = {name: longest_input(spec) for name, spec in endpoints.items()}
        self._writers = {
            name: RequestWriter(spec, targets[name].pricing if reserves else None, shard)
            for name, spec in endpoints.items()
        }
        self._spools: dict[str, Spool] = {}
        self._folder = folder
        self._own_open = dict.fromkeys(endpoints.names, 0)
        self._own_fed: set[str] = set()
        self._changed = asyncio.Event()

    def other(self, here: str, request: Request) -> str | None:
        """Where a row of the endpoint `here` may go because of its answer.

        None: it demands its endpoint, has moved before, or is too long for the other one.
        """
        [other] = (name for name in self._own_open if name != here)
        fits = estimate_tokens(request.chars) <= self._longest[other]
        return other if request.reason == "score" and fits else None

    def request(self, request: Request, to: str, attempts: int) -> Request | None:
        """What another endpoint is asked for the same row; None: its API cannot carry it, or nothing bounds it."""
        tokens = estimate_tokens(request.chars)
        write, prompt = self._writers[to], request.prompt
        moved = write(prompt, request.score, "finish", chars=request.chars, tokens=tokens, attempts=attempts)
        return moved if moved.prompt.refusal is None else None

    def put(self, endpoint: str, request: Request) -> None:
        """Takes a row for an endpoint."""
        if endpoint not in self._spools:
            self._spools[endpoint] = Spool(self._folder)
        self._spools[endpoint].put(request)
        self._changed.set()

    def waiting(self, endpoint: str) -> Iterator[Request]:
        """Takes what waits for an endpoint."""
        spool = self._spools.get(endpoint, ())
        while spool:
            yield spool.take()

    def asked(self, endpoint: str, request: Request) -> None:
        """An endpoint was given a row that may move."""
        self._own_open[endpoint] += request.reason == "score"

    def settled(self, endpoint: str, request: Request) -> None:
        """It was settled or left, and has moved by now if it does."""
        self._own_open[endpoint] -= request.reason == "score"
        self._changed.set()

    def fed(self, endpoint: str) -> None:
        """No more rows of its own are to come."""
        self._own_fed.add(endpoint)
        self._changed.set()

    def ended(self, endpoint: str) -> None:
        """Its delivery ended, whatever it had taken."""
        self._own_open[endpoint] = 0
        self.fed(endpoint)

    def is_final(self, endpoint: str) -> bool:
        """Whether nothing more can come to an endpoint."""
        return all(
            name in self._own_fed and not open_ for name, open_ in self._own_open.items() if name != endpoint
        )

    async def changed(self) -> None:
        """Until a row was moved or settled, or an endpoint got to its end."""
        self._changed.clear()
        await self._changed.wait()

    def close(self) -> None:
        """Nothing is left on disk."""
        for spool in self._spools.values():
            spool.close()
