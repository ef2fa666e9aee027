"""A process that scores: `python -m batchroute.score.process FD`, a socket to the process that started it.

    it reads     how to load the scorer (`LoadedFrom`), then questions, each as soon as it has scored the last ones
    it writes    the scorer's identity, then the scores of each, or the fault that there are none

It ends when the socket does, so that it never outlives the other process, however that ended. Knows neither the
input nor what the scores are for.
"""

from __future__ import annotations

import contextlib
import sys
from multiprocessing.connection import Connection

from batchroute.errors import BatchrouteError
from batchroute.score.router import LoadedFrom, load_scorer


def main() -> None:
    """Until the other end of the socket is closed."""
    with Connection(int(sys.argv[1])) as other, contextlib.suppress(EOFError, ConnectionError):
        serve(other)


def serve(other: Connection) -> None:
    """Raises EOFError or ConnectionError when the other process is gone."""
    source: LoadedFrom = other.recv()
    try:
        scorer = load_scorer(source.router, source.begun_with)
    except BatchrouteError:
        return  # the other process finds the same, and says so
    other.send(scorer.identity)
    while True:
        questions = other.recv()
        try:
            other.send(scorer.score(questions))
        except BatchrouteError as fault:
            other.send(fault)


if __name__ == "__main__":
    main()
