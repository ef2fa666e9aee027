"""What was answered beside a row's own side: outcomes in and out of the directory's pilot journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from batchroute.run.settle import at_todays_price, billed_usd
from batchroute.send.classify import Answer
from batchroute.send.request import Outcome
from batchroute.store.pilot import PilotRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchroute.job.prices import Target
    from batchroute.send.request import Request, Spent
    from batchroute.store.pilot import Kind, PilotStore

_ENDED = frozenset({"ok", "refused"})


class PilotAnswers:
    """The answers of one kind in a locked directory; `targets` price them."""

    def __init__(self, store: PilotStore, targets: Mapping[str, Target], kind: Kind) -> None:
        self._store = store
        self._targets = targets
        self._kind = kind
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Outcome).decode

    def find(self, name: str, request: Request) -> Outcome | None:
        """How a row's request to an endpoint ended, or how far it came ("open"); None where it was never sent."""
        record = self._store.get(self._kind, name, request.prompt.file, request.prompt.row)
        return None if record is None else self._decode(record.payload)

    def has_ended(self, name: str, request: Request) -> bool:
        """Whether it is not to be asked again: a row that took how it failed goes on by itself."""
        found = self.find(name, request)
        prompt = request.prompt
        is_taken = self._store.taken(name, prompt.file, prompt.row) is not None
        return found is not None and (found.status in _ENDED or is_taken)

    def put(self, name: str, request: Request, outcome: Outcome) -> None:
        """On file when this returns, with what earlier runs spent on it."""
        earlier = self.find(name, request)
        pricing = self._targets[name].pricing
        usages = (() if earlier is None else earlier.usages) + at_todays_price(outcome.usages, pricing)
        whole = msgspec.structs.replace(outcome, usages=usages)
        usd = billed_usd(usages, pricing)
        prompt = request.prompt
        self._store.put(
            PilotRecord(
                self._kind,
                name,
                prompt.file,
                prompt.row,
                outcome.status,
                None if usd is None else float(usd),
                self._encode(whole),
            )
        )

    def leave(self, name: str, request: Request, spent: Spent) -> None:
        """It stays undone; what its attempts cost does not get lost."""
        if spent.attempts > request.attempts:
            self.put(name, request, Outcome("open", Answer(verdict="transient"), spent.attempts, spent.usages))

    def can_take(self, name: str, request: Request) -> bool:
        """Whether a row has to ask nobody; one that was asked since it took its answer goes on asking."""
        prompt = request.prompt
        record = self._store.get(self._kind, name, prompt.file, prompt.row)
        if record is None or record.status == "open":
            return False
        mark = self._store.taken(name, prompt.file, prompt.row)
        return mark is None or request.attempts <= mark.attempts

    def take(self, name: str, request: Request) -> Outcome | None:
        """The answer as the result of its row, which has all attempts; None where that has to be asked."""
        prompt, found = request.prompt, self.find(name, request)
        if found is None or not self.can_take(name, request):
            return None
        self._store.take(name, prompt.file, prompt.row, attempts=request.attempts)
        return msgspec.structs.replace(found, attempts=request.attempts + found.attempts)
