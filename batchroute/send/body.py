"""What is sent for a row: the request's body as bytes, and how long its answer may get.

Knows an endpoint's params and a row's; nothing of lanes, prices or files.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from batchroute.job.rules import OUTPUT_BOUNDS

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


def longest_output(params: Mapping[str, Any]) -> int:
    """Tokens of output that a request's params allow, over all its choices; 0 where they set no bound.

    What is no whole number above 0 bounds nothing: some servers take -1 for "as many as you like".
    """
    bounds = [_whole(params[name]) for name in OUTPUT_BOUNDS if params.get(name) is not None]
    choices = params.get("n")
    longest = max(bounds, default=0) if all(bounds) else 0
    return longest * (1 if choices is None else _whole(choices))


def _whole(value: Any) -> int:
    """A count above 0, else 0; a column of numbers with nulls in it brings 3.0 for 3."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return max(0, value) if isinstance(value, int) and not isinstance(value, bool) else 0
