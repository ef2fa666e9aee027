"""A key that expires: read again when the server takes it no longer, at most once a minute.

Knows the headers that carry it and the scrubber that takes keys out of what servers say; where it stands is known
to `job/secrets`.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batchroute.job.secrets import Scrubber, Secret
    from batchroute.send.http import Transport


class RenewedKey(NamedTuple):
    """All headers of an endpoint, with the key as it is now; `secrets` are those among them."""

    headers: Mapping[str, str]
    secrets: Sequence[Secret]


class KeyRenewal:
    """The key of an endpoint, for the transports to its addresses; `version` counts how often it has changed."""

    # Worked example: 64 requests are in flight when the token of an hour ends. The first 401 has the command run,
    # which prints a new token: version 1. The other 63 left with version 0, so theirs are no reason to run it
    # again. All 64 are sent once more. Had it printed the same token, or did a 401 come within the minute, the
    # lane would stop: the key is wrong.

    EVERY_S = 60.0

    def __init__(
        self, transports: Sequence[Transport], scrub: Scrubber, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.version = 0
        self._transports = transports
        self._scrub = scrub
        self._clock = clock
        self._next_at = -self.EVERY_S
        self._one_at_a_time = asyncio.Lock()

    async def renewed(self, version: int) -> bool:
        """Whether the key is another one by now than the `version` that was turned away.

        Raises JobFault where it cannot be read.
        """
        read = self._transports[0].address.read_key
        async with self._one_at_a_time:
            if version != self.version:
                return True
            if read is None or self._clock() < self._next_at:
                return False
            self._next_at = self._clock() + self.EVERY_S
            key = await asyncio.to_thread(read)
            if key.headers == self._transports[0].headers:
                return False
            self._scrub.add(secret.reveal() for secret in key.secrets)
            for transport in self._transports:
                transport.headers = key.headers
            self.version += 1
            return True
