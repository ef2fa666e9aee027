"""What a request's `model` asks for: a router and a threshold, or one side. Knows text and sides, no requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from batchroute.errors import RoutingError
from batchroute.types import Side

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchroute.job.spec import Endpoints

PREFIX = "router"
Selection: TypeAlias = Side | float  # a side, or the lowest score that goes strong


def parse_model(model: str) -> tuple[str, float]:
    """(router, threshold) of a model string such as `router-mf-0.11593`; RoutingError where it is none."""
    parts = model.split("-", 2) if isinstance(model, str) else []
    if len(parts) != 3 or parts[0] != PREFIX or not parts[1]:
        raise RoutingError(f"no router is named by the model {model!r}; write it as router-mf-0.11593")
    return parts[1], read_threshold(parts[2])


def read_threshold(threshold: object) -> float:
    """A number in [0, 1], or its text; RoutingError for anything else."""
    try:
        number = float(threshold) if isinstance(threshold, str | int | float) else None
    except ValueError:
        number = None
    if number is None or not 0 <= number <= 1:  # which NaN fails, too
        raise RoutingError(f"the threshold {threshold!r} is no number from 0 to 1")
    return number


@dataclass(frozen=True, slots=True)
class ModelNames:
    """What the clients of a server may write in `model`.

    `router-NAME-0.24` routes at a threshold of its own, `router-NAME` and `router` at the job's; a side's
    model, or `strong` and `weak`, is that side, unscored. Where both sides have one model its name says nothing.
    """

    router: str
    threshold: float | None
    sides: Mapping[str, Side]

    def read(self, model: object) -> Selection:
        """RoutingError where `model` is none of them."""
        if not isinstance(model, str):
            raise RoutingError(f"model is missing; write one of {', '.join(self.listed())}")
        if model in self.sides:
            return self.sides[model]
        if model in {PREFIX, f"{PREFIX}-{self.router}"}:
            return self._own_threshold()
        if not model.startswith(f"{PREFIX}-"):
            raise RoutingError(f"there is no model {model!r} here; write one of {', '.join(self.listed())}")
        router, threshold = parse_model(model)
        if router != self.router:
            raise RoutingError(f"there is no router {router!r} here; it is {self.router!r}")
        return threshold

    def listed(self) -> list[str]:
        """The names to choose from; with the job's threshold where it has one."""
        example = "0.5" if self.threshold is None else f"{self.threshold:g}"
        return [f"{PREFIX}-{self.router}-{example}", *self.sides]

    def _own_threshold(self) -> float:
        if self.threshold is None:
            raise RoutingError(f"the job has no routing.threshold; write one, as in {self.listed()[0]}")
        return self.threshold


def model_names(router: str, threshold: float | None, endpoints: Endpoints) -> ModelNames:
    """The names of a job's router, with its threshold, and of its endpoints."""
    strong, weak = endpoints.strong.model, endpoints.weak.model
    models: dict[str, Side] = {} if strong == weak else {strong: "strong", weak: "weak"}
    return ModelNames(router, threshold, {**models, "strong": "strong", "weak": "weak"})
