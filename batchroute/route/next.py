"""What comes after an answer: one pure function.

A lane has tried as often as it may; what it hands over is either the row's own end, or says that the endpoint or
the budget can do no more. What that means depends on who asks: a run stops the lane, as it can be run again, or
moves the row to the cheaper endpoint; a server fails the one request and goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from batchroute.send.classify import stop_reason

if TYPE_CHECKING:
    from batchroute.send.request import Outcome
    from batchroute.types import RouteReason, Status


class Done(NamedTuple):
    """The row has come to this end."""

    status: Status


class Ask(NamedTuple):
    """The row goes on at another endpoint."""

    endpoint: str
    reason: RouteReason


class Stop(NamedTuple):
    """The row stays undone, and its endpoint's lane stops for this reason."""

    reason: str


NextStep: TypeAlias = Done | Ask | Stop


class Policy(NamedTuple):
    """`stops`: an endpoint that can do no more ends its lane, else only the request that met it.

    `downgrade_to` is the endpoint that takes over the rows for which another one has no money left; None: none.
    """

    stops: bool = True
    downgrade_to: str | None = None


class RowState(NamedTuple):
    """Where a row is asked, and whether it may be asked elsewhere for the budget's sake."""

    endpoint: str
    may_move: bool = False


def next_step(row: RowState, outcome: Outcome, policy: Policy) -> NextStep:
    """What becomes of a row after the outcome of its request.

    Worked example, limits.on_budget = "downgrade": a row of the strong endpoint may cost $0.04, $0.03 are left and
    nothing is in flight. Its outcome is "open", over budget: it is asked on the weak endpoint, unless it demands
    the strong one; then the strong lane stops. On the weak endpoint the same outcome stops the weak lane.
    """
    if outcome.status != "open":
        return Done(outcome.status)
    if not policy.stops:
        return Done("refused")
    if (
        outcome.answer.verdict == "over_budget"
        and row.may_move
        and policy.downgrade_to not in {None, row.endpoint}
    ):
        return Ask(policy.downgrade_to or row.endpoint, "budget")
    return Stop(stop_reason(outcome.answer))
