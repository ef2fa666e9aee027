"""What an evaluation says: figures beside their baselines, the verdict, tables, drawings, the command."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.job.spec import RouterSpec
from batchroute.learn.evaluate.build import evaluate_labels, find_rivals
from batchroute.learn.labels.sides import Labels
from batchroute.quality.curves import apgr, random_scores
from batchroute.report.figures import json_text
from command import assert_one_message
from labelled import EASY, HARD, battles, outcomes, pairs, save

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from batchroute.learn.evaluate.figures import Evaluation
    from batchroute.types import Floats
    from command import Said

    Command = Callable[..., Said]

unit = st.floats(0, 1, allow_nan=False)


def labels_of(strong: Sequence[float], weak: Sequence[float], prompts: Sequence[str] | None = None) -> Labels:
    texts = [f"prompt number {n}" for n in range(len(strong))] if prompts is None else list(prompts)
    return Labels(texts, ["one" if n % 3 else "two" for n in range(len(texts))], np.array(strong), np.array(weak))


def evaluated(labels: Labels, *routers: str, strong: str = "gpt-4o", weak: str = "gpt-4o-mini") -> Evaluation:
    rivals = find_rivals(routers, [], RouterSpec(device="cpu"), strong, weak)
    return evaluate_labels(labels, strong, weak, rivals, draw_count=200)


class Knows:
    """An oracle as a user's class: hard prompts are those that want everything in full."""

    def score(self, prompts: Sequence[str]) -> Floats:
        return np.array([0.9 if "full" in prompt else 0.1 for prompt in prompts])


class KnowsNot(Knows):
    def score(self, prompts: Sequence[str]) -> Floats:
        return 1 - super().score(prompts)


class Same(Knows):
    def score(self, prompts: Sequence[str]) -> Floats:
        return np.full(len(prompts), 0.7)


def own(cls: type) -> str:
    return f"{cls.__module__}:{cls.__name__}"


def hard_and_easy() -> Labels:
    prompts = EASY + HARD
    weak = [float(prompt in EASY) for prompt in prompts]
    return Labels(prompts, ["easy" if w else "hard" for w in weak], np.ones(len(weak)), np.array(weak))


def test_routers_stand_between_their_baselines() -> None:
    found = evaluated(hard_and_easy(), own(Knows), own(KnowsNot), own(Same))
    knows, not_, same = (found.routers[own(cls)] for cls in (Knows, KnowsNot, Same))
    assert found.routers["oracle"].apgr == pytest.approx(0.8)
    assert knows.apgr == pytest.approx(0.8)
    assert not_.apgr == pytest.approx(0.2)
    assert same.apgr == 0.5
    assert (same.cpt20, same.cpt50, same.cpt80) == pytest.approx((20, 50, 80))
    assert (knows.cpt20, knows.cpt50, knows.cpt80) == pytest.approx((8, 20, 32))
    assert knows.auc == pytest.approx(0.92)
    assert knows.curve[0] == (0.0, pytest.approx(0.6))
    assert knows.curve[-1] == (100.0, 1.0)
    assert knows.domains["easy"].apgr is None
    assert knows.domains["hard"].apgr == pytest.approx(0.5)


def test_the_verdict_says_who_is_better_and_what_it_buys() -> None:
    found = evaluated(hard_and_easy(), own(Knows), own(KnowsNot))
    assert f"{own(Knows)} (APGR 0.800" in found.verdict
    assert ") is better than random and " in found.verdict
    assert f"{own(KnowsNot)} (APGR 0.200" in found.verdict
    assert ") is worse than random and " in found.verdict
    assert f"Routing is worth it here: {own(Knows)} gives 95.0 % of gpt-4o's quality at " in found.verdict
    offer = found.offers[0]
    assert offer.strong_percent == pytest.approx(35)
    assert offer.random_percent == pytest.approx(87.5)
    assert offer.cost_percent is not None
    assert 35 < offer.cost_percent < 50  # the weak side is not free, and long prompts cost more
    assert offer.cost_percent_ci is not None
    assert offer.cost_percent_ci[0] < offer.cost_percent < offer.cost_percent_ci[1]


def test_an_unknown_price_is_said_and_never_0() -> None:
    found = evaluated(hard_and_easy(), own(Knows), strong="big", weak="gpt-4o-mini")
    assert found.offers[0].cost_percent is None
    assert "no list price is known for big" in found.prices
    assert "its cost is unknown" in found.verdict


@pytest.mark.parametrize(
    ("strong", "weak", "words"),
    [
        ([0.5, 1.0] * 50, [0.5, 1.0] * 50, "cannot be told apart"),
        ([0.0, 0.1] * 50, [1.0, 0.9] * 50, "gpt-4o-mini is simply better than gpt-4o here"),
        ([1.0] * 100, [0.0] * 95 + [1.0] * 5, "It is simply better, by about as much on nearly every prompt"),
        ([1.0, 0.0] * 50, [0.0, 0.9] * 50, "cannot be told apart"),
    ],
)
def test_the_verdict_says_when_routing_is_not_worth_it(strong: list[float], weak: list[float], words: str) -> None:
    found = evaluated(labels_of(strong, weak), "mf")
    assert words in found.verdict
    assert "Routing is not worth it" in found.verdict


def test_without_a_gap_figures_are_unknown_and_not_0() -> None:
    for strong in ([0.5] * 40, [0.25] * 40):
        found = json.loads(json_text(evaluated(labels_of(strong, [0.5] * 40), "mf")))
        for figures in found["routers"].values():
            unknown = ("apgr", "apgr_ci", "apgr10", "cpt20", "cpt50", "cpt80")
            assert {figures[key] for key in unknown} == {None}
            assert 0.25 <= figures["auc"] <= 0.5
        assert found["offers"] == []


def test_routers_that_are_no_better_than_chance_are_not_recommended() -> None:
    random = np.random.default_rng(5)
    found = evaluated(labels_of(np.ones(200), (random.random(200) < 0.5).astype(float)), own(Same))
    assert "cannot be told from random" in found.verdict
    assert "none is better than chance" in found.verdict


def test_random_is_the_mean_of_100_routers_of_the_seed_and_its_interval_that_of_one() -> None:
    labels = hard_and_easy()
    found = evaluated(labels, own(Same))
    random = found.routers["random"]
    scores = random_scores(len(labels.prompts), seed=0)
    apgrs = [apgr(each, labels.strong, labels.weak) for each in scores]
    assert len(apgrs) == 100
    assert random.apgr == pytest.approx(np.mean(apgrs), abs=1e-9)
    assert random.apgr == pytest.approx(0.5, abs=0.03)
    assert random.auc == pytest.approx(np.trapezoid([quality for _, quality in random.curve], dx=0.01))
    hard = np.flatnonzero(np.array(labels.domains) == "hard")
    in_hard = [apgr(each[hard], labels.strong[hard], labels.weak[hard]) for each in scores]
    assert random.domains["hard"].apgr == pytest.approx(np.mean(in_hard), abs=1e-9)
    assert random.apgr_ci is not None
    low, high = random.apgr_ci
    # the prompts drawn and the router drawn: wider than one of them alone
    assert low < np.percentile(apgrs, 10) < np.percentile(apgrs, 90) < high
    assert evaluated(labels, own(Same)).routers["random"] == random
    assert evaluate_labels(labels, "a", "b", [], 1, 200).routers["random"].apgr != random.apgr


@pytest.mark.parametrize("router", ["random", "length", own(Same)])
def test_a_control_is_never_recommended(router: str) -> None:
    """Long prompts are the hard ones, and the draw of seed 3 happens to know them."""
    prompts = ["x" * (n + 1) for n in range(20)]
    labels = labels_of(np.ones(20), [float(n < 10) for n in range(20)], prompts)
    for seed in range(20):
        rivals = find_rivals([router], [], RouterSpec(device="cpu", seed=seed), "gpt-4o", "gpt-4o-mini")
        found = evaluate_labels(labels, "gpt-4o", "gpt-4o-mini", rivals, draw_count=50)
        assert "Routing is worth it" not in found.verdict
        assert "route by it" not in found.verdict
        assert [offer.router for offer in found.offers] == ([router] if router == own(Same) else [])
        assert ("No router was evaluated, only controls" in found.verdict) == (router != own(Same))


def test_length_that_does_as_well_is_mentioned() -> None:
    prompts = ["x" * (n + 1) for n in range(200)]
    weak = [float(n < 100) for n in range(200)]
    said = evaluated(labels_of(np.ones(200), weak, prompts), own(Same)).verdict
    assert "Prompt length is better than chance" in said
    assert "Routing by these is not worth it" in said
    as_good = [prompt + " full" * (len(prompt) > 100) for prompt in prompts]
    verdict = evaluated(labels_of(np.ones(200), weak, as_good), own(Knows)).verdict
    assert "Routing is worth it here" in verdict
    assert "Prompt length alone does about as well." in verdict


COMMAND = "from batchroute.cli import main; main()"
KEYS = {"apgr", "apgr_ci", "apgr10", "cpt20", "cpt50", "cpt80", "auc", "domains", "curve"}


@pytest.mark.parametrize("make", [outcomes, battles, pairs])
def test_the_command_gives_the_same_json_twice(
    tmp_path: Path, batchroute: Command, make: Callable[[], pl.DataFrame]
) -> None:
    file = save(make(), tmp_path / "labels.jsonl")
    said, again = (
        batchroute("evaluate", file, "--router", "mf", "--router", "random", "--json") for _ in range(2)
    )
    assert said == again
    found = json.loads(said.out)
    assert {"rows", "strong", "weak", "verdict", "routers"} <= set(found)
    assert list(found["routers"]) == ["mf", "random:0", "random", "length", "oracle"]
    assert all(set(figures) >= KEYS for figures in found["routers"].values())
    assert found["rows"] == 100
    assert found["strong"] > found["weak"]
    assert found["routers"]["oracle"]["apgr"] == pytest.approx(0.8)
    assert found["routers"]["mf"]["domains"]["labels"]["rows"] == 100
    assert len(found["routers"]["mf"]["curve"]) == 101


def test_the_table_fits_80_columns(tmp_path: Path) -> None:
    frame = outcomes().with_columns(domain=pl.col("prompt").str.slice(0, 5))
    file = save(frame, tmp_path / "a file of labels with a long name.parquet")
    routers = [
        part
        for n in range(3)
        for part in ("--router", f"test_evaluate_command:{('Knows', 'KnowsNot', 'Same')[n]}")
    ]
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            COMMAND,
            "evaluate",
            file,
            *routers,
            "--router",
            "mf",
            "--router",
            "random",
        ],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "80", "PYTHONPATH": ":".join(sys.path), "NO_COLOR": "1"},
    )
    assert max(map(len, run.stdout.splitlines())) <= 80
    for words in (
        "100 labelled prompts",
        "all strong  big",
        "test_evaluate_command:Knows",
        "oracle",
        "Write",
        "Verdict:",
    ):
        assert words in run.stdout
    assert run.stdout.count("test_evaluate_command:Knows") > 1


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_curves_are_drawn(tmp_path: Path, batchroute: Command, suffix: str) -> None:
    plot = tmp_path / f"curves{suffix}"
    said = batchroute("evaluate", save(pairs(), tmp_path / "labels.csv"), "--plot", plot)
    assert said.code == 0
    assert f"the curves are in {plot}" in said.err
    head = plot.read_bytes()[:400]
    assert head.startswith(b"\x89PNG") if suffix == ".png" else b"<svg" in head


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--strong", "big"), ("name both models or neither",)),
        (("--strong", "big", "--weak", "tiny"), ("no labels of the weak side (tiny)",)),
        (("--router", "bert"), ("no router is named 'bert'",)),
        (("--router", "mf", "--router", "mf"), ("two routers would be called 'mf'",)),
        (("--model", "nowhere"), ("nowhere: there is no such model",)),
        (("--set", "routing.threshold=0.5"), ("only [router] can be set here",)),
        (("--set", "router.batch_size=0"), ("router.batch_size: must be 1 or more",)),
        (("--plot", "curves.pdf"), ("ends in .png or .svg",)),
    ],
)
def test_bad_usage_is_one_message(
    tmp_path: Path, batchroute: Command, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    said = batchroute("evaluate", save(outcomes(), tmp_path / "labels.csv"), *arguments)
    assert_one_message(said, 2, *words)


@settings(max_examples=10)
@given(st.lists(st.tuples(unit, unit), min_size=1, max_size=6))
def test_any_labels_have_an_evaluation(rows: list[tuple[float, float]]) -> None:
    strong, weak = np.array(rows).T
    found = json.loads(json_text(evaluated(labels_of(strong, weak), own(Same))))
    assert found["verdict"].endswith(".")
