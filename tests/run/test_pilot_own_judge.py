"""A judge of the user's own: each answer is graded once, whatever the class would say of it later."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchroute.report.quality import read_quality
from pilots import pilot_job

if TYPE_CHECKING:
    from pathlib import Path

MOODY = """
import random
from pathlib import Path

class Moody:
    def grade(self, rows):
        with Path(__file__).with_name("graded.txt").open("a") as file:
            file.writelines(f"{row['side']} {row['prompt']}\\n" for row in rows)
        return [random.random() for _ in rows]
"""


@pytest.mark.parametrize("runs", [1, 2])
def test_what_a_pilot_decided_stands_when_the_run_goes_on(tmp_path: Path, runs: int) -> None:
    name = f"moody_{runs}"
    (tmp_path / f"{name}.py").write_text(MOODY)
    with pilot_job(tmp_path) as job:
        job.write({"pilot.judge": f"{name}:Moody", "pilot.reference": None, "pilot.rows": 40})
        found = []
        for _ in range(runs):
            job.done(pilot_only=True)
            found.append(read_quality(job.run))
        assert job.done().exit_code(0.0) == 0
        found.append(read_quality(job.run))
        assert found[0] is not None
        assert all((each.kept, each.threshold) == (found[0].kept, found[0].threshold) for each in found if each)
    graded = (tmp_path / "graded.txt").read_text().splitlines()
    assert len(graded) == 80
