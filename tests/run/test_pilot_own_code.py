"""A judge of the user's own that fails on paid answers: exit 1, they are kept, and it can be put right."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from batchroute.report.standing import standing_of
from batchroute.store.layout import RunLayout
from pilots import pilot_job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from command import Said

    Command = Callable[..., Said]

ROWS = 60
SAMPLED = 12
JUDGE = """
class Judge:
    calls = 0
    def grade(self, rows):
        Judge.calls += 1
        if Judge.calls == {fails}:
            {fault}
        return [0.5] * len(rows)
"""
RAISES, SHORT = "raise KeyError('gold')", "return [0.5]"


@pytest.mark.parametrize(
    ("fails", "fault", "words"),
    [
        (1, RAISES, "raised KeyError: 'gold'"),
        (1, SHORT, f"gave an array of shape [1] for {2 * SAMPLED} rows"),
        (2, RAISES, "raised KeyError: 'gold'"),  # at the watched rows, when all rows are answered
        (2, SHORT, "gave an array of shape [1]"),
    ],
)
def test_answers_are_kept_where_the_judge_fails(
    tmp_path: Path,
    batchroute: Command,
    monkeypatch: pytest.MonkeyPatch,
    fails: int,
    fault: str,
    words: str,
) -> None:
    name = f"judge_{tmp_path.name}"  # a module is imported once in a process
    (tmp_path / f"{name}.py").write_text(JUDGE.format(fails=fails, fault=fault))
    with pilot_job(tmp_path, ROWS) as job:
        own = {"pilot.rows": SAMPLED, "pilot.watch": 0.5, "pilot.judge": f"{name}:Judge", "pilot.reference": None}
        path = job.write(own)
        said = batchroute("pilot", path) if fails == 1 else batchroute("run", path, "--quiet")
        assert said.code == 1
        assert f"{name}:Judge: `grade` {words}" in said.err
        assert "put it right and run again, all answers are kept" in said.err
        assert "Traceback" not in said.err
        assert fails == 2 or "so far; of each row one answer becomes its result" in " ".join(said.out.split())
        assert job.report()["state"] == "incomplete"
        assert words in " ".join(standing_of(job.run).why)
        assert job.report()["total_usd"] == pytest.approx(job.billed_usd())
        assert not RunLayout(job.run).success.exists()
        requests = job.requests
        (tmp_path / f"{name}.py").write_text(JUDGE.format(fails=-1, fault=fault))
        monkeypatch.delitem(sys.modules, name)  # as in the next process
        assert batchroute("run", path, "--quiet").code == 0
        assert fails == 1 or job.requests == requests
        assert job.asked_twice() == 0
        assert job.places() == Counter(range(ROWS))
        assert job.report()["total_usd"] == pytest.approx(job.billed_usd())
