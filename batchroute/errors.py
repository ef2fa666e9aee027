"""What can go wrong, and whose responsibility it is.

    BatchrouteError
    ├── UsageFault        the user's: exit 2, one message, nothing was sent
    │   ├── JobFault          the job file: every fault at once
    │   ├── InputFault        the input files
    │   ├── ModelFault        a router, an embedder or a model file
    │   ├── RunFault          a run directory of another job, or one of a newer format
    │   │   └── AnsweredOtherwise   ... whose answers a run in another directory can take over
    │   └── RoutingError      a router, a threshold or a model string that a Controller or a server does not know
    ├── OwnCodeFault      the user's code, called on answers that are paid: exit 1, they are kept
    ├── Unanswered        an endpoint's: one request of a Controller that came to nothing
    └── Stopped           the world's: exit 4, run again to go on
        ├── ShardTaken        another process is at work on a shard
        └── PoisonShard       a shard has cost several processes, and nothing came of it

Anything else that is raised is a bug of ours: a traceback and exit 1. What goes wrong with a single row is no
exception but a value recorded on the row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class BatchrouteError(Exception):
    """Something the user can act on; its text is the whole message."""

    exit_code = 1


def cause_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error to show: what the user can act on before what is a bug."""
    leaves = list(_leaves(group))
    return next((error for error in leaves if isinstance(error, BatchrouteError)), leaves[0])


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]


class UsageFault(BatchrouteError):
    """Bad usage, job file, input or model: fix what the message names, then run again."""

    exit_code = 2


class JobFault(UsageFault):
    """The job file cannot be used; `faults` are lines of the form `file:line: key: what, and what to do`."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = list(faults)


class InputFault(UsageFault):
    """The input files cannot be read as the job says."""


class ModelFault(UsageFault):
    """A router, an embedder or a model file cannot be used."""


class RunFault(UsageFault):
    """The output directory belongs to another job, or to a newer batchroute."""


class AnsweredOtherwise(RunFault):
    """A run directory has answers that the job does not ask for as it is now.

    `why` says so, `run` is the directory, `reuse` what a job with another output.path writes as its input.reuse to
    take over at no cost every answer that stays the same.
    """

    def __init__(self, why: str, run: str, reuse: Sequence[str]) -> None:
        self.why, self.run, self.reuse = why, run, list(dict.fromkeys((run, *reuse)))
        listed = ", ".join(f'"{each}"' for each in self.reuse)
        super().__init__(
            f"{why}, or use another output.path and input.reuse = [{listed}], which takes over what stays"
        )


class RoutingError(UsageFault):
    """A router that is not there, a threshold outside [0, 1], or a model string that names neither."""


class OwnCodeFault(BatchrouteError):
    """A class or a function of the user's raised, or gave what it must not; the answers it was given are kept."""


class Unanswered(BatchrouteError):
    """An endpoint refused a request, or did not answer it in all the attempts it has.

    `error_type` as in a run's results ("http_400", "timeout", "invalid_key"), `status` the HTTP status for it.
    """

    exit_code = 4

    def __init__(self, message: str, error_type: str, status: int) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.status = status


class Stopped(BatchrouteError):
    """Something outside ended the run early; what was answered is kept, run again to go on."""

    exit_code = 4


class ShardTaken(Stopped):
    """Another process is at work on a shard: it goes on there."""


class PoisonShard(Stopped):
    """A shard that processes have died of, without a new record between: it is left, the others go on."""
