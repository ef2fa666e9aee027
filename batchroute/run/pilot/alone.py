"""A pilot by itself, as the command `pilot` runs it: what it needs, and how it ended.

Asks nothing; the engine does, told `pilot_only`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchroute.errors import Stopped, UsageFault

if TYPE_CHECKING:
    from batchroute.job.spec import Job
    from batchroute.report.quality import Quality
    from batchroute.run.end import RunEnd

_ROWS_LEFT_OUT = 3  # the exit code that refused rows have in a run


@dataclass(frozen=True, slots=True)
class PilotEnd:
    """How a pilot ended, and what it found; `quality` None: it is not at its end."""

    end: RunEnd
    quality: Quality | None

    @property
    def is_done(self) -> bool:
        return self.quality is not None and not self.end.stopped and self.end.signal is None

    def exit_code(self, ok_if_left_out: float) -> int:
        """As that of a run, where rows that could not be graded stand for rows that were refused."""
        if self.end.signal is not None or self.end.stopped:
            return self.end.exit_code(ok_if_left_out)
        if self.quality is None:
            return Stopped.exit_code
        left_out = sum(self.quality.left_out.values())
        return _ROWS_LEFT_OUT if left_out and left_out / self.quality.asked > ok_if_left_out else 0


def refuse_no_pilot(job: Job) -> None:
    """UsageFault for a job that has none."""
    if job.pilot is None:
        raise UsageFault(
            f"{job.name} has no [pilot]: add one that says what grades the answers, such as\n"
            '  [pilot]\n  judge = "reference"\n  reference = "answer"   # the column with the right answer'
        )
