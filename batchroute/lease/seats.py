"""Who may hold a share of a lane that is too small for all: as many as it has seats, in the order they asked.

Knows no amounts.
"""

from __future__ import annotations

from itertools import islice


class Seats:
    """`count` seats; None: as many as anybody wants."""

    def __init__(self, count: int | None) -> None:
        self._count = count
        self._taken: set[str] = set()
        self._line: dict[str, None] = {}

    def has(self, worker: str, *, idle: bool) -> bool:
        """Whether the worker may hold a share now.

        An idle one waits in no line, and gives way to whoever does.
        """
        if self._count is None:
            return True
        if worker in self._taken:
            return not (idle and self._line)
        free = self._count - len(self._taken)
        if idle:
            self._line.pop(worker, None)
            if free <= len(self._line):
                return False
        else:
            self._line.setdefault(worker)
            if worker not in islice(self._line, free):
                return False
            del self._line[worker]
        self._taken.add(worker)
        return True

    def leave(self, worker: str) -> None:
        """The worker holds nothing any more."""
        self._taken.discard(worker)

    def left(self, worker: str) -> None:
        """The worker is not heard of any more."""
        self.leave(worker)
        self._line.pop(worker, None)
