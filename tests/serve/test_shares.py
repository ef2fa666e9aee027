"""What requests and batches of a server share: limits and money."""

from __future__ import annotations

import asyncio
import json
import math
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from batchroute.errors import UsageFault
from batchroute.send.allowance import EndpointLimits, Need, OwnLimits
from batchroute.serve.batch.shares import Lease, batch_part, divide, divide_endpoints, open_live_budget
from jobs import job_of
from serving import client, serve, user, wait_for
from steps import hit_at_every_step
from virtual_time import run_virtually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers import ThreadedSimulator


def closed(directory: Path) -> Iterator[None]:
    """A server that spent half of its dollar and left a tenth unconfirmed is told to stop."""
    budget = open_live_budget(Decimal(1), directory)
    assert budget.reserve(Decimal("0.6"))
    assert budget.reserve(Decimal("0.1"))
    budget.spend(Decimal("0.6"), Decimal("0.5"))
    yield
    budget.close()


@pytest.mark.parametrize("mishap", ["kill", "full"])
def test_whatever_step_a_server_dies_at_the_next_one_knows_what_was_spent(tmp_path: Path, mishap: Any) -> None:
    hits = hit_at_every_step("test_shares:closed", mishap, tmp_path)
    assert len(hits) > 2
    for hit in hits:
        left = open_live_budget(Decimal(1), hit.directory).left
        if hit.end == "done":
            assert left == Decimal("0.4")
        else:
            assert Decimal("0.4") - Decimal("0.11") <= left <= Decimal("0.4"), hit


def test_requests_and_batches_together_have_what_the_job_has(tmp_path: Path) -> None:
    limits = {"max_concurrency": 7, "requests_per_minute": 501, "tokens_per_minute": 10_001}
    changes = {f"endpoints.strong.{name}": limit for name, limit in limits.items()}
    job = job_of(tmp_path / "x", tmp_path / "run", changes)
    shares = divide_endpoints(job.endpoints, 0.3)["strong"]
    for name, limit in limits.items():
        parts = [getattr(part, name) for part in (shares.live, shares.batch)]
        assert sum(parts) == getattr(shares.whole, name) == limit
        assert min(parts) >= 1
        assert getattr(batch_part(job, 0.3).endpoints.strong, name) == parts[1]
    assert divide_endpoints(job.endpoints, 0.3)["weak"].live.requests_per_minute is None
    with pytest.raises(UsageFault, match=r"endpoints\.weak\.max_concurrency.*--batch-share 0"):
        divide_endpoints(
            job_of(tmp_path / "x", tmp_path / "run", {"endpoints.weak.max_concurrency": 1}).endpoints, 0.5
        )


WHOLE = EndpointLimits(8, None, 1000)


def test_a_lease_is_given_when_the_live_side_is_down_to_its_part_and_taken_back() -> None:
    """The worked example of the module, in virtual time."""

    async def work() -> None:
        clock = asyncio.get_running_loop().time
        allowance = OwnLimits(WHOLE)
        lease = Lease({"weak": allowance}, {"weak": divide(WHOLE, 0.5, "endpoints.weak")}, clock)
        lease.take_back()
        await asyncio.sleep(61)
        permits = [allowance.take(Need(tokens), clock()) for tokens in (300, 100, 100, 100, 100, 100, 0)]
        given = asyncio.create_task(lease.give())
        await asyncio.sleep(1)
        for permit in permits[:3]:
            assert allowance.wait_s(Need(0), clock()) == math.inf
            allowance.give(permit, None, clock())
        await asyncio.sleep(1)
        assert not given.done(), "four are in flight, but 800 tokens are in the window"
        await asyncio.wait_for(given, 60)
        assert allowance.wait_s(Need(0), clock()) == math.inf, "four of four slots are taken"

        lease.take_back()
        for _ in range(4):
            assert allowance.wait_s(Need(0), clock()) == 0
            allowance.take(Need(0), clock())
        for permit in permits[3:]:
            allowance.give(permit, None, clock())
        allowance.take(Need(500), clock())
        assert allowance.wait_s(Need(500), clock()) > 0, "the worker's last minute is not over"
        await asyncio.sleep(60.5)
        allowance.take(Need(500), clock())
        assert allowance.wait_s(Need(500), clock()) == 0

    run_virtually(work())


def test_live_requests_have_all_the_limits_until_a_batch_comes(tmp_path: Path, server: ThreadedSimulator) -> None:
    server.control({"latency_s": 0.3})
    changes = {"endpoints.weak.max_concurrency": 4}
    with serve(tmp_path, server.url, server.url, changes) as served, client(served) as ask:

        def ask_at_once() -> None:
            with ThreadPoolExecutor(12) as threads:
                asking = [
                    threads.submit(ask.chat.completions.create, model="weak", messages=user(str(n)))
                    for n in range(12)
                ]
                assert all(future.result(60) for future in asking)

        ask_at_once()
        assert server.stats().max_in_flight == 4
        rows = [
            {"custom_id": str(n), "method": "POST", "url": "/v1/chat/completions", "body": body}
            for n in range(300)
            for body in [{"model": "small-model", "messages": user(f"row {n}")}]
        ]
        content = "\n".join(map(json.dumps, rows)).encode()
        upload = ask.files.create(file=("a", content), purpose="batch")
        batch = ask.batches.create(
            input_file_id=upload.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        wait_for(lambda: (counts := ask.batches.retrieve(batch.id).request_counts) and counts.completed > 0)
        ask_at_once()
        assert ask.batches.retrieve(batch.id).status == "in_progress"
        assert server.stats().max_in_flight == 4, "both together"
        ask.batches.cancel(batch.id)
        wait_for(lambda: ask.batches.retrieve(batch.id).status == "cancelled")
