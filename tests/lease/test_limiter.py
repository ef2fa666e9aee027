"""The limiter by example: what each rule of it does to two or three workers."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest

from batchroute.lease.held import HeldLease
from batchroute.lease.limiter import Limiter
from batchroute.lease.limits import LaneLimits
from batchroute.lease.messages import Grant, LaneGrant, LaneUse, Renewal
from batchroute.lease.money import SharedMoney
from batchroute.lease.queue import ShardQueue

PERIOD_S = 2.0


class Speaker:
    """A worker of one lane, as far as messages go: it says what it was granted last, and what a test sets."""

    def __init__(self, name: str, limiter: Limiter) -> None:
        self.name = name
        self.limiter = limiter
        self.lease = HeldLease()
        self.granted = LaneGrant()
        self.grant: Grant | None = None
        self.ceiling = Decimal(0)

    def renew(self, now: float, taken: str = "0", *, lost: bool = False, **use: object) -> LaneGrant:
        """One exchange; `lost`: the grant does not arrive."""
        lane = LaneUse(
            requests_per_minute=self.granted.requests_per_minute,
            tokens_per_minute=self.granted.tokens_per_minute,
            slots=self.granted.slots,
            **self._uses_all() | use,  # type: ignore[arg-type]
        )
        renewal = Renewal(
            self.name,
            self.lease.epoch,
            self.lease.renews(now),
            {"weak": lane},
            taken_usd=Decimal(taken),
            ceiling_usd=max(self.ceiling, Decimal(taken)),
            wants_shard=True,
        )
        grant = self.limiter.renew(renewal, now)
        if not lost and self.lease.take(grant):
            self.granted, self.grant = grant.lanes["weak"], grant
            self.ceiling = grant.ceiling_usd or Decimal(0)
        return self.granted

    def _uses_all(self) -> dict[str, object]:
        sent, slots = self.granted.requests_per_minute or 0, self.granted.slots or 0
        return {"waiting": True, "good": 1, "sent_per_minute": sent, "most_in_flight": slots}


def limiter_of(limits: LaneLimits, money: SharedMoney | None = None, **settings: float) -> Limiter:
    return Limiter({"weak": limits}, ShardQueue([]), money, epoch=1, period_s=PERIOD_S, now=-2.0, **settings)  # type: ignore[arg-type]


def test_a_claimant_gets_its_half_two_periods_after_it_asked() -> None:
    limiter = limiter_of(LaneLimits(6_000, None, 10))
    a, b = Speaker("a", limiter), Speaker("b", limiter)
    a.renew(-1.0)
    assert a.renew(-0.5).requests_per_minute == 5_996
    assert b.renew(0.0).requests_per_minute == 0
    assert a.renew(1.0).requests_per_minute == pytest.approx(2_998, abs=2)
    assert b.renew(2.0).requests_per_minute == 0  # as the grant of 2,998 may have been lost
    a.renew(3.0)
    assert b.renew(4.0).requests_per_minute == pytest.approx(2_994, abs=2)
    assert b.granted.slots == 5


def test_a_grant_that_may_be_lost_counts_until_the_lease_is_over() -> None:
    limiter = limiter_of(LaneLimits(6_000, None, 10))
    a, b = Speaker("a", limiter), Speaker("b", limiter)
    a.renew(0.0)
    for now in (1.0, 3.0, 5.0, 6.2):
        assert b.renew(now).requests_per_minute == 0
    assert b.renew(7.0).requests_per_minute == pytest.approx(5_994, abs=4)
    for now in (7.1, 306.2, 606.2):
        assert b.renew(now).slots == 0  # requests of A may still be in flight
    assert b.renew(607.1).slots == 10


def test_what_a_dead_worker_held_is_free_at_once_but_for_its_tokens() -> None:
    limiter = limiter_of(LaneLimits(6_000, 90_000, 10))
    a, b = Speaker("a", limiter), Speaker("b", limiter)
    a.renew(0.0)
    assert (a.granted.tokens_per_minute, a.granted.slots) == (90_000, 10)
    b.renew(1.0)
    limiter.died("a", 1.5)
    assert b.renew(2.0).requests_per_minute == pytest.approx(5_994, abs=4)
    assert (b.granted.tokens_per_minute, b.granted.slots) == (0, 10)
    assert b.renew(62.0).tokens_per_minute == 0
    assert b.renew(63.0).tokens_per_minute == 90_000
    assert a.renew(63.5) == LaneGrant()  # it is held for dead


def test_a_doubled_renewal_is_answered_as_before_and_a_late_one_as_the_last() -> None:
    limiter = limiter_of(LaneLimits(6_000, None, 10))
    renewals = [Renewal("a", 1, number, {"weak": LaneUse(waiting=True, good=1)}) for number in range(3)]
    first = limiter.renew(renewals[1], 0.0)
    assert limiter.renew(renewals[1], 0.5) is first
    assert limiter.renew(renewals[0], 0.6) is first
    assert limiter.renew(renewals[2], 0.7).number == 2


def test_three_thousand_a_minute_are_held_by_five_and_the_next_in_line_follows_who_has_no_rows() -> None:
    limiter = limiter_of(LaneLimits(3_000, None, 100))
    workers = [Speaker(f"w{count}", limiter) for count in range(8)]
    for turn in range(6):
        for count, worker in enumerate(workers):
            worker.renew(turn * PERIOD_S + count * 0.1)
    speeds = [worker.granted.requests_per_minute or 0 for worker in workers]
    assert [speed > 0 for speed in speeds] == [True] * 5 + [False] * 3
    assert sum(speeds) >= 0.97 * 3_000
    for turn in range(6, 10):
        for count, worker in enumerate(workers):
            rows = {"waiting": False, "sent_per_minute": 0} if count == 2 else {}
            worker.renew(turn * PERIOD_S + count * 0.1, **rows)
    speeds = [worker.granted.requests_per_minute or 0 for worker in workers]
    assert [speed > 0 for speed in speeds] == [True, True, False, True, True, True, False, False]
    assert sum(speeds) >= 0.97 * 3_000


def test_a_small_limit_is_one_workers_and_rests_an_interval_when_it_changes_hands() -> None:
    limiter = limiter_of(LaneLimits(10, None, 4))
    a, b = Speaker("a", limiter), Speaker("b", limiter)
    assert a.renew(0.0).requests_per_minute == 10
    b.renew(1.0)
    limiter.died("a", 1.5)
    assert b.renew(3.0).requests_per_minute == 10
    assert b.granted.rests_s == pytest.approx(6.018 - 1.5)


def test_what_a_worker_does_not_use_is_given_to_one_whose_rows_wait() -> None:
    limiter = limiter_of(LaneLimits(6_000, None, 100))
    a, b = Speaker("a", limiter), Speaker("b", limiter)
    for turn in range(8):
        a.renew(turn * PERIOD_S, sent_per_minute=300, most_in_flight=50)  # its answers take their time: slots
        b.renew(turn * PERIOD_S + 1)
    assert b.granted.requests_per_minute is not None
    assert b.granted.requests_per_minute > 5_400
    assert a.granted.requests_per_minute == pytest.approx(300 * 1.1 + 60, abs=5)
    assert a.granted.slots == b.granted.slots == 50


def test_one_request_of_a_lane_is_out_until_the_first_good_answer_and_a_stop_reaches_those_who_wait() -> None:
    limiter = limiter_of(LaneLimits(6_000, None, 100))
    workers = [Speaker(f"w{count}", limiter) for count in range(3)]
    a, b, c = workers
    assert [worker.renew(0.0, good=0).slots for worker in workers] == [1, 0, 0]
    assert [worker.renew(2.0, good=0, in_flight=int(worker is a)).slots for worker in workers] == [1, 0, 0]
    limiter.died("w0", 3.0)  # nothing of it is out any more
    assert b.renew(4.0, good=0).slots == 1
    assert c.renew(4.0, good=0).slots == 0
    b.renew(5.0, good=1)
    assert b.granted.answered
    assert c.renew(6.0, good=0).slots == 50
    b.renew(7.0, stopped="the key is wrong")
    assert (b.granted.slots, b.granted.stop) == (0, "the key is wrong")
    assert c.renew(8.0).stop == "the key is wrong"
    assert Speaker("d", limiter).renew(9.0, good=0).stop == "the key is wrong"


def test_a_429_pauses_the_lane_for_the_others_and_the_speed_found_is_shared() -> None:
    limiter = limiter_of(LaneLimits(None, None, 100))
    workers = [Speaker(name, limiter) for name in "abcd"]
    a, *others = workers
    for worker in workers:
        assert worker.renew(0.0, sent_per_minute=250).requests_per_minute is None
    a.renew(1.0, rate_limited=1, rests_s=20.0, learnt=240.0)
    assert a.granted.rests_s == 20.0
    assert others[0].renew(2.0, rests_s=0.0, sent_per_minute=250).rests_s == pytest.approx(19.0)
    for worker in others[1:]:
        worker.renew(3.0, rate_limited=1, rests_s=18.0, learnt=250.0)
    lane = 240 + 0.97 * 250 + 250 + 250
    for now in range(4, 26, 2):
        for worker in workers:
            worker.renew(float(now), rate_limited=1, learnt=250.0, sent_per_minute=240)
    assert sum(worker.granted.requests_per_minute or 0 for worker in workers) == pytest.approx(lane, rel=0.01)
    assert [worker.granted.rests_s for worker in workers] == [0.0] * 4
    for now in range(26, 400, 2):  # held for a minute, then it grows until there is no limit any more
        for worker in workers:
            worker.renew(float(now), rate_limited=1, learnt=250.0, sent_per_minute=240)
    assert a.granted.requests_per_minute is None


def test_all_workers_together_probe_a_lane_that_is_away_at_most_once_a_second_until_one_is_answered() -> None:
    limiter = limiter_of(LaneLimits(None, None, 100))
    workers = [Speaker(f"w{count}", limiter) for count in range(5)]
    probes = []
    for turn in range(10):
        for count, worker in enumerate(workers):
            now = turn * PERIOD_S + count * 0.3
            granted = worker.renew(now, away=True, good=3)
            first, every_s = now + granted.probe_in_s, granted.probe_every_s
            probes += [at for at in (first, first + every_s) if at < now + PERIOD_S]  # until it renews again
    probes.sort()
    assert len(probes) >= 12
    assert min(later - earlier for earlier, later in pairwise(probes[5:])) >= 1.0
    b, a = workers[1], workers[0]
    a.renew(20.0, away=False, good=3)
    b.renew(20.0, away=False, good=5)
    assert a.renew(21.0, away=True, good=3).probe_every_s > 0
    b.renew(22.0, away=False, good=9)  # those four may be from before the outage of A
    assert a.renew(23.0, away=True, good=3).probe_every_s > 0
    b.renew(24.0, away=False, good=12)
    assert (a.renew(25.0, away=True, good=3).probe_in_s, a.granted.probe_every_s) == (0.0, 0.0)


def test_a_request_larger_than_a_share_of_tokens_has_a_larger_one_when_others_have_rested() -> None:
    limiter = limiter_of(LaneLimits(None, 90_000, 30))
    a, b = Speaker("a", limiter), Speaker("b", limiter)
    for turn in range(40):
        a.renew(turn * PERIOD_S, tokens=45_000)
        b.renew(turn * PERIOD_S + 1, tokens=45_000)
    assert (a.granted.tokens_per_minute, b.granted.tokens_per_minute) == (45_000, 45_000)
    for turn in range(40, 80):
        a.renew(turn * PERIOD_S, tokens=0, wants_tokens=70_000)
        b.renew(turn * PERIOD_S + 1, tokens=20_000)
    assert (a.granted.tokens_per_minute, b.granted.tokens_per_minute) == (70_000, 20_000)
    a.renew(160.0, tokens=70_000, wants_tokens=200_000)  # more than all: it goes alone
    for turn in range(80, 160):
        a.renew(turn * PERIOD_S + 0.5, tokens=0, wants_tokens=200_000)
        b.renew(turn * PERIOD_S + 1, tokens=0)
    assert (a.granted.tokens_per_minute, b.granted.tokens_per_minute) == (90_000, 0)


def test_a_new_driver_is_quiet_and_knows_workers_that_outlived_the_last_one() -> None:
    limiter = Limiter(
        {"weak": LaneLimits(6_000, None, 10)}, ShardQueue([]), epoch=7, period_s=PERIOD_S, now=0.0, quiet_s=6.3
    )
    a = Speaker("a", limiter)
    a.lease.epoch, a.granted = 6, LaneGrant(6_000.0, None, 10)
    assert a.renew(1.0, in_flight=4) == LaneGrant(tokens_per_minute=0.0)
    assert a.lease.epoch == 7
    assert a.renew(6.2, in_flight=4).slots == 0
    assert a.renew(6.4, in_flight=4).slots == 10
    newer = Renewal("b", 8, 0, {"weak": LaneUse(waiting=True)})
    assert limiter.renew(newer, 7.0).lanes["weak"].slots == 0
    assert limiter.superseded
    assert a.renew(8.0).slots == 0


def test_a_run_that_has_to_end_says_so_to_all() -> None:
    limiter = limiter_of(LaneLimits(6_000, None, 10))
    limiter.queue = ShardQueue([(0, 1)])
    ends = limiter.renew(Renewal("a", 1, 0, stopping="the disk is full"), 0.0)
    others = limiter.renew(Renewal("b", 1, 0, wants_shard=True), 1.0)
    assert ends.drain == others.drain == "the disk is full"
    assert others.shards == []


def test_slack_is_two_percent_over_all_and_goes_to_whose_next_row_fits() -> None:
    limiter = limiter_of(LaneLimits(), SharedMoney(Decimal(100), Decimal("2.06")))
    a, b = Speaker("a", limiter), Speaker("b", limiter)
    a.renew(0.0, wants_usd=Decimal("0.05"))
    assert a.ceiling == 2
    b.renew(0.5, wants_usd=Decimal("0.05"))
    assert b.ceiling == Decimal("0.05")  # A has all that may lie open; a next row that fits is not made to wait
    a.renew(2.0, "0.5", in_flight=1)
    assert a.ceiling == Decimal("1.5")
    a.renew(4.0, "1.49", in_flight=1)
    assert a.ceiling == Decimal("2.01")
    b.renew(4.5, "0.04", wants_usd=Decimal("0.05"), in_flight=1)
    assert b.ceiling == Decimal("0.04")  # nothing is free: it gives its slack back, and waits
    a.renew(6.0, "1.99", wants_usd=Decimal("0.05"))
    assert a.ceiling == Decimal("1.99")
    a.renew(6.2, "1.99", wants_usd=Decimal("0.05"))  # which counts when it says so
    b.renew(6.5, "0.02", wants_usd=Decimal("0.05"))
    assert b.ceiling == Decimal("0.07")  # $0.05 are free now
    b.renew(7.0, "0.07", in_flight=1, wants_usd=Decimal("0.05"))
    assert a.renew(8.0, "1.99", wants_usd=Decimal("0.05")).stop is None  # B's answer may leave some
    b.renew(8.5, "0.06", wants_usd=Decimal("0.05"))
    b.renew(9.0, "0.06", wants_usd=Decimal("0.05"))
    said = "limits.max_cost_usd: the next row may cost $0.0500, $0.0100 are left"
    assert a.renew(10.0, "1.99", wants_usd=Decimal("0.05")).stop == said


def test_answers_to_a_lost_worker_may_leave_money_so_the_lane_waits_for_them() -> None:
    limiter = limiter_of(LaneLimits(None, None, 10, timeout_s=30), SharedMoney(Decimal(10), Decimal("0.01")))
    a, b = Speaker("a", limiter), Speaker("b", limiter)
    a.renew(0.0, in_flight=1)
    for now in (1.0, 3.0, 7.0, 36.0):
        assert b.renew(now, wants_usd=Decimal("0.05")).stop is None
    assert b.renew(38.0, wants_usd=Decimal("0.05")).stop is not None


def test_tenthousand_renewals_of_a_thousand_workers_leave_nothing_behind_but_names() -> None:
    limiter = limiter_of(LaneLimits(600_000, 90_000_000, 40_000))
    for turn in range(3):
        for count in range(1_000):
            Speaker(f"w{turn}-{count}", limiter).renew(turn * 100 + count * 0.002)
    limiter.advance(10_000.0)
    lane = limiter.lanes["weak"]
    lane.hear("next", LaneUse(), 11_000.0)
    assert limiter.here == 0
    assert len(lane._rates) == len(lane._slot_shares) == len(lane._token_shares) == 0
    assert lane._slots.total == lane._tokens.total == 0


def test_nothing_is_kept_free_for_a_worker_that_asked_and_gave_way() -> None:
    limiter = limiter_of(LaneLimits(6_000, None, 100), SharedMoney(Decimal(100), Decimal(1)))
    a, b = Speaker("a", limiter), Speaker("b", limiter)
    a.renew(0.0, wants_usd=Decimal(1))
    b.renew(0.5, wants_usd=Decimal(2))  # it does not fit
    for turn in range(1, 6):
        a.renew(turn * PERIOD_S, "0.5", in_flight=1)
        b.renew(turn * PERIOD_S + 0.5, wants_usd=Decimal(2))
    assert a.granted.requests_per_minute is not None
    assert a.granted.requests_per_minute >= 5_800


def test_the_first_answer_is_anothers_to_ask_for_where_the_first_worker_lacks_money() -> None:
    limiter = limiter_of(LaneLimits(6_000, None, 100), SharedMoney(Decimal(100), Decimal(1)))
    a, b = Speaker("a", limiter), Speaker("b", limiter)
    a.renew(0.0, good=0, wants_usd=Decimal(2))
    for now in (1.0, 3.0):
        a.renew(now, good=0, wants_usd=Decimal(2))
        b.renew(now, good=0, wants_usd=Decimal("0.5"))
    assert (a.granted.slots, b.granted.slots) == (0, 1)
    assert b.ceiling == 1
