"""A driver that fetches renewals gets each of them, and each grant goes to its own, whatever calls are lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from batchroute.run.workers.mailbox import Mailbox

if TYPE_CHECKING:
    from collections.abc import Sequence

ROUNDS = 5


async def worker(mailbox: Mailbox) -> list[bytes]:
    grants = [await mailbox.exchange(b"renewal %d" % number) for number in range(1, ROUNDS + 1)]
    mailbox.end()
    return grants


async def driver(mailbox: Mailbox, lost: Sequence[bool]) -> list[bytes]:
    """Fetches till the end; where `lost` says so the answer of a call never comes back, and it is made again."""
    renewals: list[bytes] = []
    number, grant, call = 0, None, 0
    while (fetched := await mailbox.fetch(number, grant)) is not None:
        call += 1
        if call <= len(lost) and lost[call - 1]:
            continue
        number, renewal = fetched
        renewals.append(renewal)
        grant = b"grant %d" % number
    return renewals


@given(st.lists(st.booleans(), max_size=20))
def test_whatever_calls_are_lost_each_grant_goes_to_its_own_renewal(lost: list[bool]) -> None:
    async def both() -> None:
        mailbox = Mailbox()
        grants, renewals = await asyncio.gather(worker(mailbox), driver(mailbox, lost))
        assert renewals == [b"renewal %d" % number for number in range(1, ROUNDS + 1)]
        assert grants == [b"grant %d" % number for number in range(1, ROUNDS + 1)]

    asyncio.run(both())


def test_a_grant_for_a_renewal_that_was_given_up_is_none_for_the_next() -> None:
    async def give_up() -> None:
        mailbox = Mailbox()
        first = asyncio.create_task(mailbox.exchange(b"first"))
        assert await mailbox.fetch(0, None) == (1, b"first")
        first.cancel()
        second = asyncio.create_task(mailbox.exchange(b"second"))
        assert await mailbox.fetch(1, b"for the first") == (2, b"second")
        assert not second.done()
        fetching = asyncio.create_task(mailbox.fetch(2, b"for the second"))
        assert await second == b"for the second"
        mailbox.end()
        assert await fetching is None

    asyncio.run(give_up())


def test_a_driver_that_comes_first_waits() -> None:
    async def wait() -> None:
        mailbox = Mailbox()
        fetching = asyncio.create_task(mailbox.fetch(0, None))
        await asyncio.sleep(0)
        assert not fetching.done()
        exchanging = asyncio.create_task(mailbox.exchange(b"renewal"))
        assert await fetching == (1, b"renewal")
        exchanging.cancel()

    asyncio.run(wait())
