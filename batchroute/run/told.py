"""Telling somebody now and then how many rows are scored."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    OnRows: TypeAlias = "Callable[[int], None]"

EVERY_S = 0.5


@contextlib.asynccontextmanager
async def told(on_rows: OnRows, rows: Callable[[], int]) -> AsyncIterator[None]:
    """Calls `on_rows` with how many there are, as long as the block works."""

    async def tell() -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            on_rows(rows())

    telling = asyncio.create_task(tell())
    try:
        yield
    finally:
        telling.cancel()
