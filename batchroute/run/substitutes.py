"""Says at once, and once, that another model answers than the one that is asked for. The report counts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchroute.job.served import is_asked_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchroute.job.prices import Target
    from batchroute.send.classify import Answer

MOST_NAMED = 5  # of an endpoint's; a gateway may have a new one for each answer


class Substitutes:
    """The models that answered at one endpoint; `notify` is told of each that was not asked for."""

    def __init__(self, target: Target, notify: Callable[[str], None]) -> None:
        self._target = target
        self._notify = notify
        self._seen: set[str | None] = {None, target.model}
        self._named = 0

    def see(self, answer: Answer) -> None:
        served = answer.completion.served_model if answer.completion else None
        if served in self._seen or self._named == MOST_NAMED:
            return
        self._seen.add(served)
        asked = self._target.model
        if served is not None and not is_asked_model(asked, served):
            self._named += 1
            self._notify(
                f"the {self._target.name} endpoint was asked for {asked} and answered with {served}: such answers "
                f"are counted, and cost what the price table has for {served} where that is more"
            )
