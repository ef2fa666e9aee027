"""Is a request to blame for its refusal, or the job? A state machine; it neither sleeps nor sends."""

from __future__ import annotations

import re
from collections import Counter
from typing import Generic, TypeVar

Held = TypeVar("Held")

_NUMBERS = re.compile(r"[\w-]*\d[\w-]*")


class SameRefusal(Generic[Held]):
    """The same refusal again and again with no success between is a bad parameter, an empty account or a crashed
    model, at whatever time; else requests are to blame themselves.

    Refusals are held until that is decided. `of_any_kind` bounds how many: so many in a row, whatever they say,
    are too many as well.
    """

    # Worked example, stop_after = 3: "400: max_tokens is above 4096" three times is one too many, so the lane
    # stops, and what is held has failed for the job's sake. "400: row 17 is too long", "403: no images", "400: row
    # 21 is too long" are two of one kind, as numbers do not count, and one of another; then an ok: all three are
    # the requests' own, and the count begins again. Without that ok, the next of the first kind is the third: a
    # refusal of another kind proves nothing, or two reasons that take turns would refuse the whole file. So would
    # a server that never says the same twice; that ends at 30.

    OF_ANY_KIND = 10

    def __init__(self, stop_after: int) -> None:
        """`stop_after` 0: never the job's fault."""
        self._stop_after = stop_after
        self._counts: Counter[str] = Counter()
        self._too_many: str | None = None
        self._held: list[Held] = []

    @property
    def watching(self) -> bool:
        """Whether a refusal may turn out to be the job's fault."""
        return self._stop_after > 0

    def refused(self, text: str) -> str | None:
        """What there is too much of, from one too many on; numbers and ids in it make no difference."""
        if not self.watching:
            return None
        kind = _NUMBERS.sub("#", text)
        self._counts[kind] += 1
        total = self._counts.total()
        if self._counts[kind] == self._stop_after:
            self._too_many = self._too_many or f"the same refusal {self._stop_after} times"
        elif total == self.OF_ANY_KIND * self._stop_after:
            self._too_many = self._too_many or f"{total} refusals"
        return self._too_many

    def succeeded(self) -> None:
        """The count begins again; what is held should be released."""
        if self._counts:
            self._counts.clear()
            self._too_many = None

    def hold(self, refusal: Held) -> None:
        """Until `release`; it has been counted."""
        self._held.append(refusal)

    def release(self) -> list[Held]:
        """What was held, once."""
        held, self._held = self._held, []
        return held
