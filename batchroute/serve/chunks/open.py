"""Which streams need a translator, one of their own each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from batchroute.serve.chunks.anthropic import AnthropicChunks
from batchroute.serve.chunks.responses import ResponsesChunks

if TYPE_CHECKING:
    from collections.abc import Callable

    Translate: TypeAlias = Callable[[dict[str, Any]], list[bytes]]

_TRANSLATORS: dict[str, Callable[[], Translate]] = {"responses": ResponsesChunks, "anthropic": AnthropicChunks}


def open_translator(api: str) -> Translate | None:
    """Makes chat's events of one stream of this API; None where they are chat's already."""
    make = _TRANSLATORS.get(api)
    return None if make is None else make()
