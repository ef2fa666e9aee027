"""An event stream on its way from an endpoint to a client: whole events are passed on as they arrive.

The endpoint is always asked for the usage, which a bill needs; the chunk that brings it goes on only to a client
that asked for it, too. Knows no sockets: `write` takes the events for the client.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from batchroute.send.usage import read_usage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from batchroute.job.secrets import Scrubber
    from batchroute.serve.chunks.open import Translate
    from batchroute.types import Usage

_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")  # of an event
_LONGEST_END = 4


class EventRelay:
    """One stream; `usage` is the last that it reported, `begun` whether the client has had anything of it."""

    def __init__(
        self,
        write: Callable[[bytes], Awaitable[None]],
        scrub: Scrubber,
        *,
        keep_usage: bool,
        translate: Translate | None = None,
    ) -> None:
        """`translate` makes chat's events of those of another API."""
        self.usage: Usage | None = None
        self.begun = False
        self._write = write
        self._scrub = scrub
        self._keep_usage = keep_usage
        self._translate = translate
        self._unread = bytearray()
        self._searched = 0  # so many bytes of it begin no end of an event: each is batch_input at once

    async def receive(self, piece: bytes) -> None:
        """Takes what came, passes on what is whole."""
        self._unread += piece
        begin = 0
        events: list[bytes] = []
        while (end := _END.search(self._unread, max(begin, self._searched))) is not None:
            events += map(self._cleaned, self._translated(bytes(self._unread[begin : end.end()])))
            begin = end.end()
        del self._unread[:begin]
        self._searched = max(0, len(self._unread) - _LONGEST_END + 1)
        await self._pass_on(b"".join(events))

    async def finish(self) -> None:
        """Passes on what came after the last whole event."""
        rest = bytes(self._unread)
        self._unread.clear()
        await self._pass_on(b"".join(map(self._cleaned, self._translated(rest))))

    async def _pass_on(self, events: bytes) -> None:
        if events:
            self.begun = True
            await self._write(events)

    def _translated(self, event: bytes) -> list[bytes]:
        """What is passed on of an event; of another API's stream nothing that carries no object."""
        if self._translate is None:
            return [event]
        return self._translate(found) if isinstance(found := _data(event), dict) else []

    def _cleaned(self, event: bytes) -> bytes:
        """The event without keys of ours; nothing for a chunk of usage alone that the client did not ask for."""
        if b'"usage"' in event and self._is_only_usage(event) and not self._keep_usage:
            return b""
        text = event.decode("utf-8", "replace")
        clean = self._scrub(text)
        return event if clean == text else clean.encode()

    def _is_only_usage(self, event: bytes) -> bool:
        chunk = _data(event)
        if not isinstance(chunk, dict):
            return False
        usage = read_usage(chunk)
        self.usage = usage or self.usage
        return usage is not None and not chunk.get("choices")


def _data(event: bytes) -> Any:
    """The JSON an event carries; None where it is none."""
    lines = (line.removeprefix(b"data:") for line in event.splitlines() if line.startswith(b"data:"))
    try:
        return msgspec.json.decode(b"\n".join(lines))
    except (ValueError, RecursionError):
        return None
