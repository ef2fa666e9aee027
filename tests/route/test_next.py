"""What comes after an answer: a table."""

from __future__ import annotations

import pytest

from batchroute.route.next import Ask, Done, NextStep, Policy, RowState, Stop, next_step
from batchroute.send.classify import Answer
from batchroute.send.request import Outcome
from batchroute.types import Completion, StopReason

OK = Answer(verdict="ok")
KEY = Answer(verdict="fatal", error_type="invalid_key", error="HTTP 401: no")
QUOTA = Answer(verdict="fatal", error_type="quota", error="HTTP 429: empty")
ODD = Answer(verdict="fatal", error_type="redirected", error="HTTP 302")
MONEY = Answer(
    verdict="over_budget", error_type="budget", error="limits.max_cost_usd: $0.03 are left", unsent=True
)
NO_KEY = StopReason("key rejected", "HTTP 401: no", "set api_key_env, or check the key it names, then run again")
NO_MONEY = StopReason(
    "limits.max_cost_usd: $0.03 are left",
    advice="raise limits.max_cost_usd, then run again",
    doing="no_money",
)

CUT = Answer(verdict="ok", completion=Completion(response="so far", finish_reason="length"))
FILTERED = Answer(verdict="ok", completion=Completion(finish_reason="content_filter"))
REFUSING = Answer(verdict="ok", completion=Completion(refusal="I cannot", finish_reason="stop"))
SAYS_SO = Answer(verdict="ok", completion=Completion(finish_reason="refusal"))

RUN = Policy()
DOWNGRADING = Policy(downgrade_to="weak")
SERVER = Policy(stops=False)
FINISHING = Policy(on_finish={"length": "other", "refusal": "refuse"})
STRONG, MOVABLE, WEAK = RowState("strong"), RowState("strong", may_move=True), RowState("weak", may_move=True)
FREE = RowState("weak", other="strong")


@pytest.mark.parametrize(
    ("row", "status", "answer", "policy", "step"),
    [
        (STRONG, "ok", OK, RUN, Done("ok")),
        (STRONG, "refused", Answer(verdict="refused"), RUN, Done("refused")),
        (STRONG, "failed", Answer(verdict="transient"), RUN, Done("failed")),
        (MOVABLE, "failed", Answer(verdict="transient"), DOWNGRADING, Done("failed")),
        (STRONG, "ok", OK, SERVER, Done("ok")),
        # What is said of the endpoint stops its lane, with what to do about it.
        (
            STRONG,
            "open",
            KEY,
            RUN,
            Stop(NO_KEY),
        ),
        (
            MOVABLE,
            "open",
            QUOTA,
            DOWNGRADING,
            Stop(
                StopReason(
                    "quota or credit used up",
                    "HTTP 429: empty",
                    "top up the account or raise its quota, then run again",
                )
            ),
        ),
        (STRONG, "open", ODD, RUN, Stop(StopReason("HTTP 302", advice="fix it, then run again"))),
        (STRONG, "open", KEY, SERVER, Done("refused")),
        # Want of money moves the rows that may move, and stops a lane for all others.
        (STRONG, "open", MONEY, RUN, Stop(NO_MONEY)),
        (MOVABLE, "open", MONEY, RUN, Stop(NO_MONEY)),
        (STRONG, "open", MONEY, DOWNGRADING, Stop(NO_MONEY)),
        (MOVABLE, "open", MONEY, DOWNGRADING, Ask("weak", "budget")),
        (WEAK, "open", MONEY, DOWNGRADING, Stop(NO_MONEY)),
        (MOVABLE, "open", MONEY, SERVER, Done("refused")),
        # How an answer ended counts only where the job says what to make of it.
        (FREE, "ok", CUT, RUN, Done("ok")),
        (FREE, "ok", CUT, FINISHING, Ask("strong", "finish")),
        (WEAK, "ok", CUT, FINISHING, Done("ok")),
        (FREE, "ok", OK, FINISHING, Done("ok")),
        (FREE, "ok", FILTERED, FINISHING, Done("ok")),
        (FREE, "ok", REFUSING, FINISHING, Done("refused", "refusal")),
        (WEAK, "ok", REFUSING, FINISHING, Done("refused", "refusal")),
        (FREE, "ok", SAYS_SO, FINISHING, Done("refused", "refusal")),
        (FREE, "failed", Answer(verdict="transient"), FINISHING, Done("failed")),
        (
            FREE,
            "open",
            KEY,
            FINISHING,
            Stop(NO_KEY),
        ),
    ],
)
def test_what_follows(row: RowState, status: str, answer: Answer, policy: Policy, step: NextStep) -> None:
    outcome = Outcome(status, answer, 1, ())  # type: ignore[arg-type]  # one of a status' words
    assert next_step(row, outcome, policy) == step
