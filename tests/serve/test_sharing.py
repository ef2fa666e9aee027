"""What requests and batches of a server share: limits and money."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from batchroute.serve.batch.sharing import open_live_budget
from steps import hit_at_every_step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def closed(directory: Path) -> Iterator[None]:
    """A server that spent half of its dollar and left a tenth unconfirmed is told to stop."""
    budget = open_live_budget(Decimal(1), directory)
    assert budget.reserve(Decimal("0.7"))
    budget.spend(Decimal("0.6"), Decimal("0.5"))
    yield
    budget.close()


@pytest.mark.parametrize("mishap", ["kill", "full"])
def test_whatever_step_a_server_dies_at_the_next_one_knows_what_was_spent(tmp_path: Path, mishap: Any) -> None:
    hits = hit_at_every_step("test_sharing:closed", mishap, tmp_path)
    assert len(hits) > 2
    for hit in hits:
        left = open_live_budget(Decimal(1), hit.directory).left
        if hit.end == "done":
            assert left == Decimal("0.4")
        else:
            assert Decimal("0.4") - Decimal("0.11") <= left <= Decimal("0.4"), hit
