"""Pilots that are tried offline: two simulated sides whose skill is known, and what each judge finds of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchroute.simulate.behaviour import Behaviour
from batchroute.simulate.skill import chance_right
from jobs import PRICE, on_both, write_job
from servers import threaded_simulator
from sums import sums, write_sums

if TYPE_CHECKING:
    from collections.abc import Callable

    from command import Said

    Command = Callable[..., Said]

RECIPE = Path(__file__).parents[2] / "jobs" / "pilot-demo.toml"
ROWS, ASKED = 400, 120
SKILLS = {"strong": 0.98, "weak": 0.6}
RIGHT = {side: sum(chance_right(skill, row.digits) for row in sums(ROWS)) / ROWS for side, skill in SKILLS.items()}
NEAR = 4 * (0.25 / ASKED) ** 0.5  # of a mean of so many grades


def found(batchroute: Command, folder: Path, pilot: dict[str, Any], *changes: dict[str, Any]) -> Any:
    """What the pilot of a job of sums finds."""
    write_sums(folder / "prompts.jsonl", ROWS)
    # Of other lengths, else two right answers are one text, and a judge is asked the same twice.
    sides = {
        f"endpoints.{side}.simulate": {"latency_s": 0, "skill": skill, "response_tokens": int(100 * skill)}
        for side, skill in SKILLS.items()
    }
    ours = {"routing": {"quality": 0.9}, "pilot": {"rows": ASKED, **pilot}, "limits.ok_if_refused": 1.0}
    job = write_job(folder, on_both("base_url", None), sides, ours, *changes)
    said = batchroute("pilot", job, "--json", "--quiet")
    assert said.code == 0, said.err
    return json.loads(said.out)


def model_judge(url: str | None = None, **settings: Any) -> dict[str, Any]:
    where = {"simulate": {"latency_s": 0, **settings}} if url is None else {"base_url": url, "price": PRICE}
    return {"model": "claude-haiku-5-5", **where}


def test_the_right_answers_show_the_skills(tmp_path: Path, batchroute: Command) -> None:
    quality = found(batchroute, tmp_path, {"judge": "reference", "reference": "answer"})
    assert quality["strong_grade"] == pytest.approx(RIGHT["strong"], abs=NEAR)
    assert quality["weak_grade"] == pytest.approx(RIGHT["weak"], abs=NEAR)


def test_points_show_the_skills(tmp_path: Path, batchroute: Command) -> None:
    quality = found(batchroute, tmp_path, {"judge": "rubric", "endpoint": model_judge(skill=1.0)})
    points = {side: 0.95 * share + 0.25 * (1 - share) for side, share in RIGHT.items()}
    assert quality["strong_grade"] == pytest.approx(points["strong"], abs=NEAR)
    assert quality["weak_grade"] == pytest.approx(points["weak"], abs=NEAR)


def test_comparisons_show_the_skills_and_the_judge_contradicts_itself(tmp_path: Path, batchroute: Command) -> None:
    quality = found(batchroute, tmp_path, {"judge": "pairwise", "endpoint": model_judge(skill=0.9)})
    assert quality["strong_grade"] == 0.5
    assert 0.2 < quality["weak_grade"] < 0.45
    assert 0.5 < quality["order_agreement"] < 0.98


def test_verdicts_that_nobody_can_read_leave_their_rows_out(tmp_path: Path, batchroute: Command) -> None:
    with threaded_simulator(Behaviour(faults={"unreadable": 0.5})) as server:
        quality = found(batchroute, tmp_path, {"judge": "rubric", "endpoint": model_judge(server.url)})
    # Of two verdicts on a row, each asked for twice, one is missing in 1 - .75 ** 2 of the rows.
    assert quality["left_out"]["judge_unreadable"] / ASKED == pytest.approx(0.44, abs=NEAR)
    assert quality["rows"] == ASKED - quality["left_out"]["judge_unreadable"]


def test_the_recipe_finds_that_routing_is_worth_it(tmp_path: Path, batchroute: Command) -> None:
    at_once = [f"endpoints.{side}.simulate.{key}=0" for side in SKILLS for key in ("latency_s", "jitter_s")]
    sets = [word for setting in at_once for word in ("--set", setting)]
    said = batchroute("pilot", RECIPE, "--output", tmp_path / "run", "--json", "--quiet", *sets)
    quality = json.loads(said.out)
    assert (said.code, quality["verdict"], quality["rows"]) == (0, "route", 400)
    assert 0.3 < quality["strong_share"] < 0.8
