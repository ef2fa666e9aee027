"""Scores -> endpoints: the one routing rule, for a part of rows at a time and for a single request.

Plain numpy; knows no files and sends nothing. An endpoint stands here as its index in the order of SIDES.

    score >= threshold?  (or the row demands a side)  -> its own endpoint
    too long for that?   no                           -> it goes there
                         yes, `on_too_long = "other"`
                         and the other has room       -> it goes to the other
                         yes, else                    -> it stays, to be refused as too long
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batchroute.send.tokens import estimate_tokens
from batchroute.types import SIDES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from batchroute.job.endpoint import EndpointSpec
    from batchroute.job.spec import Endpoints
    from batchroute.report.read import RunEndpoint
    from batchroute.store.scores import ScoredRows
    from batchroute.types import Floats, RouteReason

STRONG, WEAK = range(len(SIDES))
_ORDER: tuple[str, ...] = SIDES
LONGEST_INPUT: int = np.iinfo(np.int64).max  # tokens, of an endpoint without a limit
_REASONS: tuple[RouteReason, ...] = ("score", "override", "too_long", "finish")


@dataclass(frozen=True, slots=True)
class InputLimits:
    """[endpoints] each: the most input tokens it takes, and whether a longer row may go to the other."""

    longest: NDArray[np.int64]
    may_move: NDArray[np.bool_]


def input_limits(endpoints: Iterable[EndpointSpec | RunEndpoint]) -> InputLimits:
    """Of the endpoints of a job or a finished run, in the order of SIDES."""
    listed = list(endpoints)
    return InputLimits(
        np.array([longest_input(endpoint) for endpoint in listed], np.int64),
        np.array([endpoint.on_too_long == "other" for endpoint in listed], np.bool_),
    )


def longest_input(endpoint: EndpointSpec | RunEndpoint) -> int:
    """The most input tokens an endpoint takes."""
    return LONGEST_INPUT if endpoint.max_input_tokens is None else endpoint.max_input_tokens


@dataclass(frozen=True, slots=True)
class Routes:
    """[n] each: the endpoint a row goes to; whether it demanded one, was moved as too long, or fits nowhere.

    A row that the input refuses has no score and stands on the weak side, to be recorded there. `handed_over` rows
    go where the answer of another endpoint sent them; None: there are none.
    """

    to: NDArray[np.int8]
    forced: NDArray[np.bool_]
    moved: NDArray[np.bool_]
    too_long: NDArray[np.bool_]
    handed_over: NDArray[np.bool_] | None = None

    def hand_over(self, rows: NDArray[np.bool_], name: str) -> Routes:
        """The same, with these rows [n] on the endpoint `name` because of an answer."""
        before = np.zeros(len(rows), np.bool_) if self.handed_over is None else self.handed_over
        to = np.where(rows, np.int8(_ORDER.index(name)), self.to)
        return replace(self, to=to, too_long=self.too_long & ~rows, handed_over=before | rows)

    def on(self, name: str) -> NDArray[np.bool_]:
        mine: NDArray[np.bool_] = self.to == _ORDER.index(name)
        return mine

    def reasons(self, rows: NDArray[np.int64]) -> list[RouteReason]:
        """Why each of these rows goes where it goes."""
        codes = np.where(self.moved[rows], 2, self.forced[rows])
        if self.handed_over is not None:
            codes = np.where(self.handed_over[rows], 3, codes)
        return [_REASONS[code] for code in codes.tolist()]


class Route(NamedTuple):
    """The same of one request."""

    endpoint: str
    reason: RouteReason
    too_long: bool


def route(rows: ScoredRows, threshold: float, endpoints: Endpoints) -> Routes:
    """Where the rows of a part go."""
    limits = input_limits(spec for _, spec in endpoints.items())
    return route_columns(rows.score, rows.forced, rows.chars, threshold, limits)


def route_one(
    score: float | None, forced: str | None, chars: int, threshold: float, endpoints: Endpoints
) -> Route:
    """Where one request goes; `score` None where none was needed."""
    limits = input_limits(spec for _, spec in endpoints.items())
    scores = np.array([math.nan if score is None else score])
    routes = route_columns(scores, np.array([forced], object), np.array([chars]), threshold, limits)
    [reason] = routes.reasons(np.zeros(1, np.int64))
    return Route(SIDES[routes.to[0]], reason, bool(routes.too_long[0]))


def route_columns(
    score: Floats,
    forced: NDArray[np.object_],
    chars: NDArray[np.int64],
    threshold: float,
    limits: InputLimits,
) -> Routes:
    """The rule. [n] each: a row's score (NaN: none), the side it demands or None, its request's characters."""
    demands: NDArray[np.bool_] = forced != None  # noqa: E711 - element by element
    is_weak = np.where(demands, forced == "weak", ~(score >= threshold))  # NaN >= threshold is False
    own = is_weak.astype(np.int8)  # 0 is STRONG, 1 is WEAK
    other = 1 - own
    tokens = estimate_tokens(chars)
    is_long = tokens > limits.longest[own]
    moved = is_long & limits.may_move[own] & (tokens <= limits.longest[other])
    return Routes(np.where(moved, other, own), demands, moved, is_long & ~moved)
