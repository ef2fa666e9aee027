"""What comes after an answer: one pure function.

A lane has tried as often as it may; what it hands over is either the row's own end, or says that the endpoint or
the budget can do no more. What that means depends on who asks: a run stops the lane, as it can be run again, or
moves the row to the cheaper endpoint; a server fails the one request and goes on.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from batchroute.send.classify import stop_reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchroute.send.request import Outcome
    from batchroute.types import Completion, Finish, OnFinish, RouteReason, Status, StopReason


class Done(NamedTuple):
    """The row has come to this end; `refused_for`: its answer ended so, which the job refuses."""

    status: Status
    refused_for: Finish | None = None


class Ask(NamedTuple):
    """The row goes on at another endpoint."""

    endpoint: str
    reason: RouteReason


class Stop(NamedTuple):
    """The row stays undone, and its endpoint's lane stops for this reason."""

    reason: StopReason


NextStep: TypeAlias = Done | Ask | Stop


class Policy(NamedTuple):
    """`stops`: an endpoint that can do no more ends its lane, else only the request that met it.

    `downgrade_to` is the endpoint that takes over the rows for which another one has no money left; None: none.
    `on_finish` says what becomes of answers that did not end by themselves; those it does not name are kept.
    """

    stops: bool = True
    downgrade_to: str | None = None
    on_finish: Mapping[Finish, OnFinish] = MappingProxyType({})


class RowState(NamedTuple):
    """Where a row is asked, and whether it may be asked elsewhere for the budget's sake.

    `other` is the endpoint that it may go to because of its answer; None: it demands its own, or moved before.
    """

    endpoint: str
    may_move: bool = False
    other: str | None = None


def next_step(row: RowState, outcome: Outcome, policy: Policy) -> NextStep:
    """What becomes of a row after the outcome of its request.

    Worked example, limits.on_budget = "downgrade": a row of the strong endpoint may cost $0.04, $0.03 are left and
    nothing is in flight. Its outcome is "open", over budget: it is asked on the weak endpoint, unless it demands
    the strong one; then the strong lane stops. On the weak endpoint the same outcome stops the weak lane.

    endpoints.weak.on_finish = { length = "other", refusal = "refuse" }: an answer of the weak endpoint that is cut
    at its bound is paid, and the row is asked on the strong one; one in which the model refuses is the row's end.
    """
    if outcome.status == "ok" and policy.on_finish:
        return _after_answer(row, outcome, policy)
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


def _after_answer(row: RowState, outcome: Outcome, policy: Policy) -> NextStep:
    finish = finish_of(outcome.answer.completion)
    action = "keep" if finish is None else policy.on_finish.get(finish, "keep")
    if action == "refuse":
        return Done("refused", finish)
    if action == "other" and row.other is not None:
        return Ask(row.other, "finish")
    return Done("ok")


def finish_of(completion: Completion | None) -> Finish | None:
    """How an answer ended, where that was not by itself: a model that refuses says so, whatever else is said."""
    if completion is None:
        return None
    if completion.refusal or completion.finish_reason == "refusal":
        return "refusal"
    if completion.finish_reason == "length":
        return "length"
    return "content_filter" if completion.finish_reason == "content_filter" else None
