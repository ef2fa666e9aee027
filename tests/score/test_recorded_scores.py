"""Scores are final: what was scored by an earlier version is scored the same by this one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from batchroute.job.spec import RouterSpec
from batchroute.score.rater import bare_questions
from batchroute.score.router import load_scorer
from earlier_model import EARLIER

if TYPE_CHECKING:
    import pytest

# Some prompts of the demo and their scores, recorded in November 2026: an earlier built-in model, with which runs
# go on that it began; random, seed 3; the built-in model.
RECORDED = {
    "q001": (0.549193567, 0.542320818, 0.560269578),
    "q002": (0.546076144, 0.325342310, 0.578044358),
    "q003": (0.574985695, 0.656663117, 0.587412113),
    "q010": (0.523938684, 0.513564662, 0.542472806),
    "q042": (0.558011430, 0.518522070, 0.576235674),
    "q099": (0.528661251, 0.407931565, 0.545011167),
    "q123": (0.597195165, 0.126537055, 0.614125041),
    "q200": (0.586474092, 0.158489125, 0.600257433),
    "q256": (0.552188254, 0.564146233, 0.583996942),
    "q320": (0.574553939, 0.438845610, 0.587470589),
}


def test_the_demos_prompts_score_as_they_did_when_recorded(request: pytest.FixtureRequest) -> None:
    lines = (request.config.rootpath / "jobs" / "demo.jsonl").read_text(encoding="utf-8").splitlines()
    prompts = {row["id"]: row["prompt"] for row in map(json.loads, lines)}
    questions = bare_questions([prompts[name] for name in RECORDED])
    earlier, newest = load_scorer(RouterSpec(), EARLIER), load_scorer(RouterSpec())
    at_random = load_scorer(RouterSpec(use="random", seed=3))
    found = [scorer.score(questions) for scorer in (earlier, at_random, newest)]
    np.testing.assert_allclose(np.stack(found, axis=1), list(RECORDED.values()), atol=1e-6, rtol=0)
