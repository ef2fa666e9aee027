"""Scores -> sides, a part of rows at a time. Plain numpy on columns; knows no files and sends nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from batchroute.send.tokens import estimate_tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from batchroute.job.spec import Endpoints, EndpointSpec
    from batchroute.store.scores import ScoredRows
    from batchroute.types import RouteReason, Side

_REASONS: tuple[RouteReason, ...] = ("score", "override", "too_long")


@dataclass(frozen=True, slots=True)
class Routes:
    """[n] each: the side a row goes to, whether it demanded that, was sent there as too long, or fits nowhere.

    A row that the input already refuses has no side of its own and stands on the weak one, to be recorded there.
    """

    strong: NDArray[np.bool_]
    forced: NDArray[np.bool_]
    moved: NDArray[np.bool_]
    too_long: NDArray[np.bool_]

    def on(self, side: Side) -> NDArray[np.bool_]:
        return self.strong if side == "strong" else ~self.strong

    def reasons(self, rows: NDArray[np.int64]) -> list[RouteReason]:
        """Why each of these rows goes where it goes."""
        codes = np.where(self.moved[rows], 2, self.forced[rows])
        return [_REASONS[code] for code in codes.tolist()]


def route(rows: ScoredRows, threshold: float, endpoints: Endpoints) -> Routes:
    """Strong if and only if score >= threshold, unless the row demands a side or is too long for its own."""
    forced = rows.forced != None  # noqa: E711 - element by element
    # NaN >= threshold is False: a refused row stands on the weak side.
    strong = np.where(forced, rows.forced == "strong", rows.score >= threshold).astype(np.bool_)
    tokens = estimate_tokens(rows.chars)
    too_long_strong = tokens > longest_input(endpoints.strong)
    too_long_weak = tokens > longest_input(endpoints.weak)
    too_long = np.where(strong, too_long_strong, too_long_weak)
    elsewhere = np.where(strong, ~too_long_weak, ~too_long_strong)
    may_move = np.where(strong, _moves(endpoints.strong), _moves(endpoints.weak))
    moved = too_long & may_move & elsewhere
    return Routes(strong ^ moved, forced, moved, too_long & ~moved)


def longest_input(endpoint: EndpointSpec) -> int:
    """The most input tokens a side takes."""
    return endpoint.max_input_tokens if endpoint.max_input_tokens is not None else np.iinfo(np.int64).max


def _moves(endpoint: EndpointSpec) -> bool:
    return endpoint.on_too_long == "other"
