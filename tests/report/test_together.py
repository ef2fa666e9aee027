"""What several processes say of a run, as one: in values, and as `status` finds it in the directory."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.report.build import build_report
from batchroute.report.figures import json_text
from batchroute.report.lanes import LaneReport, LaneTimeline, RunStatus, prolonged, write_status
from batchroute.report.standing import standing_of
from batchroute.report.together import read_status, together
from batchroute.show.standing import standing_lines
from batchroute.store.layout import RunLayout
from batchroute.store.sharded import DriverRole, Share
from batchroute.types import Doing
from shardings import Entered, killed, sharded, write_input

if TYPE_CHECKING:
    from pathlib import Path

AT = 1_800_000_000.0


def status(at: float = AT, *, rows: int | None = 100, done: int = 10, **lane: Any) -> RunStatus:
    lanes = {"weak": LaneReport(**{"state": "sending", "doing": "sending", "in_flight": 4, "ok": done, **lane})}
    return RunStatus(
        updated_at=at, rows=rows, done=done, spent_usd=0.5, max_cost_usd=9.0, wall_s=float(done), lanes=lanes
    )


def test_counts_are_added_and_limits_are_not() -> None:
    found = together([status(done=10), status(AT + 5, done=20, rows=50)], 2)
    assert (found.rows, found.done, found.spent_usd, found.max_cost_usd) == (150, 30, 1.0, 9.0)
    assert (found.updated_at, found.wall_s) == (AT + 5, 20.0)
    assert (found.lanes["weak"].ok, found.lanes["weak"].in_flight, found.lanes["weak"].state) == (30, 8, "sending")


@pytest.mark.parametrize(("statuses", "of"), [([status()], 2), ([status(), status(rows=None)], 2)])
def test_rows_are_unknown_until_all_have_said_how_many_they_have(statuses: list[RunStatus], of: int) -> None:
    assert together(statuses, of).rows is None


@pytest.mark.parametrize(
    ("lanes", "doing", "state"),
    [
        ([("sending", "sending"), ("done", "done")], "sending", "sending on 1 of 2 processes"),
        ([("done", "done"), ("done", "done")], "done", "done"),
        (
            [("away", "away: refused"), ("waiting", "waits for rows"), ("away", "away: refused")],
            "away",
            "away: refused on 2 of 3 processes",
        ),
        (
            [("stopped", "stopped: key rejected"), ("done", "done")],
            "stopped",
            "stopped: key rejected on 1 of 2 processes",
        ),
    ],
)
def test_a_lane_says_what_tells_most(lanes: list[tuple[str, str]], doing: str, state: str) -> None:
    found = together([status(doing=does, state=words) for does, words in lanes], len(lanes)).lanes["weak"]
    assert (found.doing, found.state) == (doing, state)


def test_an_address_that_is_away_for_one_process_is_away() -> None:
    told = [
        status(addresses=3, addresses_away=["gpu1:1"]),
        status(addresses=3, addresses_away=["gpu2:1", "gpu1:1"]),
        status(doing="done", state="done"),
    ]
    found = together(told, 3).lanes["weak"]
    assert (found.addresses, found.addresses_away) == (3, ["gpu1:1", "gpu2:1"])


@pytest.mark.parametrize("doing", get_args(Doing))
def test_whatever_a_lane_does_is_said(doing: Doing) -> None:
    assert together([status(doing=doing), status(doing="done")], 2).lanes["weak"].doing == doing


@given(st.lists(st.tuples(st.floats(0, 900), st.floats(0.1, 900)), min_size=1, max_size=4))
def test_timelines_together_have_the_mean_time_of_each_doing(stretches: list[tuple[float, float]]) -> None:
    def timeline(start: float, seconds: float) -> LaneTimeline:
        return prolonged(LaneTimeline.begun(AT + start), "sending", AT + start, AT + start + seconds)

    lines = [timeline(*each) for each in stretches]
    found = together([status(timeline=line) for line in lines], len(lines)).lanes["weak"].timeline
    assert found is not None
    total = sum(slot.get("sending", 0.0) for slot in found.slots)
    assert total == pytest.approx(sum(seconds for _, seconds in stretches) / len(stretches), abs=1e-3)
    assert all(slot.get("sending", 0.0) <= found.step_s + 1e-6 for slot in found.slots)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_input(tmp_path)
    return tmp_path / "run"


def write(run: Path, index: int, of: int, written: RunStatus) -> None:
    share = RunLayout(run).share(index, of)
    share.folder.mkdir(parents=True, exist_ok=True)
    write_status(share.status, written)


def test_the_latest_division_counts_or_the_run_that_came_after_it(run: Path) -> None:
    write(run, 0, 2, status(AT, done=1))
    write(run, 1, 2, status(AT + 1, done=2))
    write(run, 0, 3, status(AT + 2, done=4))
    found = read_status(run)
    assert found is not None
    assert (found.done, found.rows) == (4, None)
    write_status(RunLayout(run).status, status(AT + 3, done=8))
    found = read_status(run)
    assert found is not None
    assert found.done == 8


def test_a_process_that_was_killed_has_nothing_in_flight_while_others_work(run: Path) -> None:
    folder = run.parent
    with sharded(folder, Share(0, 2)), Entered(folder, Share(1, 2)) as other:
        for index in (0, 1):
            write(run, index, 2, status(done=5))
        both = standing_of(run)
        assert (both.state, both.processes, both.lanes["weak"].in_flight) == ("running", 2, 8)
        assert " and 1 more)" in next(standing_lines(both, datetime.fromtimestamp(AT, UTC)))
        pid = other.pid
        other.kill()
        one = standing_of(run)
        assert (one.state, one.processes, one.done) == ("running", 1, 10)
        assert (one.lanes["weak"].in_flight, one.lanes["weak"].state) == (4, "sending on 1 of 2 processes")
    ended = standing_of(run)
    assert (ended.state, ended.processes, ended.pid) == ("incomplete", None, pid)
    assert ended.lanes["weak"].in_flight == 4, "the other one has said so, and ended"
    with sharded(folder, Share(0, 3)):
        pass
    assert standing_of(run).pid is None, "another division of the work has taken over"


def test_of_processes_that_were_all_killed_the_last_word_stands(run: Path) -> None:
    for index in (0, 1):
        killed(run.parent, Share(index, 2))
        write(run, index, 2, status(done=5))
    assert standing_of(run).lanes["weak"].in_flight == 8
    RunLayout(run).report.write_bytes(json_text(build_report(run, state="incomplete")))
    assert re.match(r"a process was killed \(pid \d+ on .*\); run the same command again", standing_of(run).why[0])
    with sharded(run.parent, DriverRole()):
        pass
    assert standing_of(run).why == ["rows are left; run the same command again to go on"]
