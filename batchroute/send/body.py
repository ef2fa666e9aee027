"""What is sent for a row: the request's body as bytes, and how long its answer may get.

Knows an endpoint's params and a row's; nothing of lanes, prices or files.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from batchroute.job.rules import longest_output

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchroute.types import Prompt

FINGERPRINT_BYTES = 16


class Body:
    """Request bodies of one endpoint: its params, the row's over them, the model and the messages.

    The same params make the same bytes, in whatever order and wherever they were written.
    """

    def __init__(self, model: str, params: Mapping[str, Any]) -> None:
        self._params = {**params, "model": model}
        self._head = _head(self._params)
        self._longest = longest_output(params)

    def __call__(self, prompt: Prompt) -> tuple[bytes, int]:
        """The body, and the most tokens its answer may have (0 where nothing bounds it)."""
        if not prompt.params:
            return self._head + prompt.messages + b"}", self._longest
        params = {**self._params, **prompt.params}
        return _head(params) + prompt.messages + b"}", longest_output(params)


def _head(params: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(params, order="sorted")[:-1] + b',"messages":'


def fingerprint(body: bytes) -> bytes:
    """What tells a request's body, and so its model, from every other: two are the same if and only if this is."""
    return hashlib.blake2b(body, digest_size=FINGERPRINT_BYTES).digest()
