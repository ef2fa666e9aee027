"""What a run is told beside its job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from batchroute.run.progress import Progress
    from batchroute.store.sharded import Share


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a run is told beside the job: the environment with its keys, the flags, who is told what.

    `watch` shows the progress until it is cancelled; `notify` takes a message that the user must see at once.
    `pilot_only`: nothing is asked but the job's pilot. `share`: only a share of the shards; None: the whole input.
    """

    environ: Mapping[str, str]
    limit: int | None = None
    retry_refused: bool = False
    pilot_only: bool = False
    share: Share | None = None
    watch: Callable[[Progress], Awaitable[None]] | None = None
    notify: Callable[[str], None] = lambda message: None
