"""A router of a job's own: when it is learnt, when it routes, and what is left of it on disk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
import torch

from batchroute.job.spec import EmbedderSpec, RouterSpec
from batchroute.learn.own.build import (
    FEWEST_ROWS,
    JOB,
    LENGTH,
    MOST_ROWS,
    OWN,
    Learned,
    learn_router,
    length_router,
    own_router,
    write_router,
)
from batchroute.learn.own.build import _some as some_rows
from batchroute.learn.own.choice import choose, compare
from batchroute.learn.own.fit import Design, make_design, out_of_fold
from batchroute.learn.own.fit import _weights as learnt_weights
from batchroute.learn.own.parts import deal_folds, split_parts
from batchroute.learn.train.gain import pair_parameters
from batchroute.quality.curves import SHARES, quality_curve
from batchroute.score.checkpoint import Card, read_checkpoint, write_checkpoint
from batchroute.score.embed.builtin import HashedNgrams
from batchroute.score.embed.embedders import BUILTIN_DIMENSION, identity
from batchroute.score.rater import bare_questions
from batchroute.score.router import length_scores, load_scorer, model_path
from jobs import write_job
from topics import prompts, right

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batchroute.quality.curves import Rows
    from batchroute.types import Floats
    from command import Said

ROWS = 600
BUILTIN = RouterSpec(device="cpu")
BUILTIN_VECTOR = read_checkpoint(model_path(BUILTIN)).folded(BUILTIN.strong, BUILTIN.weak)


def score_texts(texts: list[str], router: RouterSpec) -> Floats:
    return load_scorer(router).score(bare_questions(texts))


def ranks(values: Floats) -> Floats:
    """[n] in [0, 1)."""
    placed: Floats = np.argsort(np.argsort(values, kind="stable"), kind="stable") / len(values)
    return placed


def by_topic(texts: list[str], topics: Floats, scores: Floats) -> Floats:
    """Translations and letters are what the weak side gets wrong; the built-in model knows nothing of that."""
    return np.where(np.isin(topics, (1, 4)), 0.3, 0.9)


def by_score(texts: list[str], topics: Floats, scores: Floats) -> Floats:
    return 1 - 0.9 * ranks(scores)


def by_length(texts: list[str], topics: Floats, scores: Floats) -> Floats:
    return 1 - 0.9 * ranks(length_scores(bare_questions(texts)))


def pilot_of(
    weak_is_right: Callable[..., Floats], seed: int, rows: int = ROWS
) -> tuple[list[str], Floats, Floats, Floats]:
    """Texts, scores of the built-in model, grades of the strong and of the weak side."""
    texts, topics = prompts(rows, seed, longest=40)
    scores = score_texts(texts, BUILTIN)
    return (
        texts,
        scores,
        right(np.full(rows, 0.95), seed),
        right(weak_is_right(texts, topics, scores), seed + 1000),
    )


def of_part(
    part: str, texts: list[str], scores: Floats, strong: Floats, weak: Floats, seed: int
) -> tuple[list[str], Floats, Floats, Floats]:
    rows = np.flatnonzero(split_parts((10 * ranks(scores)).astype(np.int64), seed) == part)
    return [texts[row] for row in rows], scores[rows], strong[rows], weak[rows]


@pytest.mark.parametrize(
    ("weak_is_right", "chosen"), [(by_topic, OWN), (by_score, JOB), (by_length, LENGTH)], ids=[OWN, JOB, LENGTH]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_router_that_knows_what_decides_is_chosen(
    weak_is_right: Callable[..., Floats], chosen: str, seed: int, tmp_path: Path
) -> None:
    pilot = pilot_of(weak_is_right, seed)
    learned = learn_router(*of_part("A", *pilot, seed), BUILTIN, seed)
    assert learned.chosen == chosen
    assert learned.rows == 0.4 * ROWS
    assert set(learned.figures) == {JOB, OWN, LENGTH}
    own = own_router(BUILTIN, tmp_path / "model", "big", "small")
    write_router(tmp_path / "model", learned, own)
    texts, scores, strong, weak = of_part("B", *pilot, seed)
    on_b = {JOB: scores} | {
        name: score_texts(texts, spec) for name, spec in ((OWN, own), (LENGTH, length_router(BUILTIN)))
    }
    figures = compare(on_b, strong, weak, seed)
    best = figures[chosen].apgr
    assert best is not None
    assert best > 0.6
    assert best > max(figures[name].apgr or 0.0 for name in on_b) - 0.05
    for figure in (*figures.values(), *learned.figures.values()):
        assert figure.apgr is not None
        assert figure.apgr_ci is not None
        assert figure.apgr_ci[0] < figure.apgr < figure.apgr_ci[1]


def test_noise_seldom_replaces_the_router_of_the_job() -> None:
    """One standard error is passed by chance in 16 of 100, by each of the two others."""
    rows, times = 100, 15
    texts, _ = prompts(rows, 5)
    scores, lengths = score_texts(texts, BUILTIN), length_scores(bare_questions(texts))
    design = make_design(texts, BUILTIN_VECTOR)
    chosen = []
    for seed in range(times):
        strong, weak = right(np.full(rows, 0.9), seed), right(np.full(rows, 0.6), seed + 1000)
        own = out_of_fold(design, strong - weak, deal_folds(scores, seed))
        chosen.append(choose({JOB: scores, OWN: own, LENGTH: lengths}, strong, weak, seed)[0])
    assert chosen.count(JOB) >= 7


def test_another_router_must_be_better_by_a_standard_error() -> None:
    """Held against a bootstrap done the long way; differences close to one error are left out."""
    random, rows, judged = np.random.default_rng(2), 60, []
    for seed in range(24):
        strong, weak = right(np.full(rows, 0.9), seed), right(np.full(rows, 0.5), seed + 1000)
        job, other = random.random(rows), random.random(rows) + 0.08 * (strong - weak)

        def over(drawn: Rows, strong: Floats, weak: Floats, job: Floats, other: Floats) -> float:
            curves = (quality_curve(each[drawn], strong[drawn], weak[drawn], SHARES) for each in (job, other))
            mine, its = (float(curve.mean()) for curve in curves)
            return its - mine

        values = (strong, weak, job, other)
        error = np.std([over(random.integers(0, rows, rows), *values) for _ in range(200)])
        errors = over(np.arange(rows), *values) / error
        if abs(errors - 1) > 0.2:
            judged.append(errors > 1)
            assert (choose({JOB: job, OWN: other}, strong, weak, seed)[0] == OWN) == (errors > 1), errors
    assert 5 < sum(judged) < len(judged) - 5, "both happen"


def test_a_prompt_is_scored_by_a_model_that_has_not_seen_its_gain() -> None:
    texts, _ = prompts(200, 3)
    gains = [right(np.full(200, 0.5), seed) for seed in range(6)]
    design = make_design(texts, BUILTIN_VECTOR)
    memory = design.matrix @ np.linalg.lstsq(design.matrix, gains[0], rcond=None)[0]
    assert np.corrcoef(memory, gains[0])[0, 1] > 0.8, "the features can tell one prompt from another"
    unseen = [np.corrcoef(out_of_fold(design, gain, deal_folds(gain, 0)), gain)[0, 1] for gain in gains]
    assert abs(np.mean(unseen)) < 0.1


def test_the_penalty_is_the_one_that_leaving_out_each_prompt_finds_best() -> None:
    random = np.random.default_rng(4)
    matrix = random.standard_normal((25, 6))
    gain = matrix @ random.standard_normal(6) / 4 + random.standard_normal(25)
    centred = matrix - matrix.mean(axis=0)
    design = Design(np.zeros(1), np.zeros(0, np.int64), np.zeros(0), matrix, centred @ centred.T)

    def ridge(rows: Floats, penalty: float) -> Floats:
        x, y = matrix[rows] - matrix[rows].mean(axis=0), gain[rows] - gain[rows].mean()
        solved: Floats = np.linalg.solve(x.T @ x + penalty * np.eye(6), x.T @ y)
        return solved

    def error(penalty: float) -> float:
        total = 0.0
        for left_out in range(25):
            rest = np.delete(np.arange(25), left_out)
            predicted = gain[rest].mean() + (matrix[left_out] - matrix[rest].mean(axis=0)) @ ridge(rest, penalty)
            total += (predicted - gain[left_out]) ** 2
        return total

    best = min((0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0), key=error)
    np.testing.assert_allclose(learnt_weights(design, gain, np.arange(25)), ridge(np.arange(25), best), atol=1e-9)


def test_learning_starts_from_the_model_of_the_job(tmp_path: Path) -> None:
    """Of 262,202 random weights 200 prompts could teach next to nothing."""
    vector = torch.randn(BUILTIN_DIMENSION, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    card = Card(("x", "y"), identity(EmbedderSpec()), BUILTIN_DIMENSION, "made up", "", 0, {})
    write_checkpoint(tmp_path / "first", pair_parameters(vector).weights(), card)
    job = RouterSpec(model=str(tmp_path / "first"), strong="x", weak="y", device="cpu")
    texts, _ = prompts(400, 8)
    gain = 2.0 * ranks(score_texts(texts, job)) - 1
    strong, weak = np.maximum(gain, 0), np.maximum(-gain, 0)
    agreement = {}
    for name, router in (("job", job), ("length", length_router(job))):
        learned = learn_router(texts[:200], np.zeros(200), strong[:200], weak[:200], router, 0)
        write_router(tmp_path / name, learned, own := own_router(job, tmp_path / name, "a", "b"))
        agreement[name] = np.corrcoef(ranks(score_texts(texts[200:], own)), gain[200:])[0, 1]
    assert agreement["job"] > 0.95 > agreement["length"] + 0.1


@pytest.mark.parametrize(
    ("strong", "weak"),
    [(1.0, 1.0), (0.0, 0.0), (0.7, 0.1), (0.1, 0.7), ("mixed", 1.0), ("mixed", "mixed")],
    ids=["both right", "both wrong", "always better", "always worse", "never better", "equal"],
)
@pytest.mark.parametrize("rows", [0, 1, FEWEST_ROWS - 1, FEWEST_ROWS])
@pytest.mark.parametrize("scores", ["constant", "spread"])
def test_the_router_of_the_job_stays_where_nothing_can_be_gained(
    strong: float | str, weak: float | str, rows: int, scores: str
) -> None:
    texts, _ = prompts(rows, 2)
    mixed = np.tile([0.0, 0.5, 1.0], rows)[:rows]
    grades = [mixed if side == "mixed" else np.full(rows, side, np.float64) for side in (strong, weak)]
    job_scores = np.full(rows, 0.5) if scores == "constant" else np.linspace(0, 1, rows)
    learned = learn_router(texts, job_scores, *grades, BUILTIN, 0)
    assert learned.chosen == JOB
    figures = [number for each in learned.figures.values() for number in (each.apgr, *(each.apgr_ci or ()))]
    assert not any(number is not None and np.isnan(number) for number in figures)


def test_where_the_weak_side_is_better_there_is_nothing_to_choose_for() -> None:
    texts, scores, weak, strong = pilot_of(by_topic, 0, rows=240)
    learned = learn_router(texts, scores, strong, weak, BUILTIN, 0)
    assert learned.chosen == JOB
    assert [(each.rows, each.apgr, each.apgr_ci) for each in learned.figures.values()] == [(240, None, None)] * 3


def test_rounding_is_no_difference() -> None:
    """The strong side is better by the same everywhere; sums over ties of any size differ in their last digit."""
    strong, weak = np.full(60, 0.9), np.full(60, 0.3)
    for seed in range(12):
        random = np.random.default_rng(seed)
        scores = {JOB: random.integers(0, 9, 60) / 9, LENGTH: random.integers(0, 40, 60) / 40}
        assert choose(scores, strong, weak, seed)[0] == JOB


@pytest.mark.parametrize("text", ["", "the same", " \n"])
def test_prompts_that_are_all_the_same_teach_nothing(text: str) -> None:
    strong, weak = right(np.full(80, 0.9), 0), right(np.full(80, 0.5), 1)
    learned = learn_router([text] * 80, np.full(80, 0.3), strong, weak, BUILTIN, 0)
    assert learned.chosen == JOB
    assert learned.figures[OWN].apgr == learned.figures[LENGTH].apgr == 0.5
    assert learned.parameters is not None
    assert torch.isfinite(learned.parameters.table).all()


def test_instructions_that_all_prompts_begin_with_hide_nothing() -> None:
    random = np.random.default_rng(0)
    instructions = " ".join("".join(map(chr, random.integers(97, 123, 6))) for _ in range(1200))
    texts, scores, strong, weak = pilot_of(by_topic, 0, rows=240)
    begun = [f"{instructions}\n{text}" for text in texts]
    bare, hidden = (learn_router(each, scores, strong, weak, BUILTIN, 0) for each in (texts, begun))
    assert bare.chosen == hidden.chosen == OWN
    assert hidden.figures[OWN].apgr == pytest.approx(bare.figures[OWN].apgr, abs=0.05)


def test_the_same_rows_and_seed_teach_the_same() -> None:
    pilot = pilot_of(by_topic, 3, rows=150)
    first, again, other = (learn_router(*pilot, BUILTIN, seed) for seed in (1, 1, 2))
    assert first.parameters is not None
    assert again.parameters is not None
    assert torch.equal(first.parameters.table, again.parameters.table)
    assert first.figures == again.figures
    assert first.figures[OWN] != other.figures[OWN]


def test_a_model_directory_has_all_that_a_job_needs(tmp_path: Path, batchroute: Callable[..., Said]) -> None:
    texts, scores, strong, weak = pilot_of(by_topic, 4, rows=120)
    learned = learn_router(texts, scores, strong, weak, BUILTIN, seed=9)
    folder = tmp_path / "runs" / "x" / "pilot" / "model"
    own = own_router(BUILTIN, folder, "gpt-6.1-sol", "gpt-6-luna")
    write_router(folder, learned, own)
    assert {path.name for path in folder.iterdir()} == {"batchroute.json", "config.json", "model.safetensors"}
    card = json.loads((folder / "batchroute.json").read_text())
    assert card["models"] == ["gpt-6.1-sol", "gpt-6-luna"]
    assert (card["data"], card["seed"]) == ("a pilot of 120 rows", 9)
    assert card["evaluation"]["out_of_fold"][OWN]["apgr"] == learned.figures[OWN].apgr
    # the scores are those of the weights that were learnt ...
    assert learned.parameters is not None
    vector = 2 * learned.parameters.table[:, 0].double()
    logits = HashedNgrams(torch.device("cpu")).fold(vector)(bare_questions(texts))
    np.testing.assert_allclose(score_texts(texts, own), torch.sigmoid(logits).numpy(), atol=1e-6)
    # ... whichever job asks
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    names = {"router.strong": "gpt-6.1-sol", "router.weak": "gpt-6-luna", "router.device": "cpu"}
    job = write_job(tmp_path, {"router.use": "mf", "router.model": "runs/x/pilot/model", **names})
    assert batchroute("score", job, "-o", tmp_path / "out.parquet").code == 0
    read = pl.read_parquet(tmp_path / "out.parquet")["score"].to_numpy()
    np.testing.assert_allclose(read, score_texts(texts, own), atol=1e-12)


def test_a_score_is_near_the_rate_of_wins(tmp_path: Path) -> None:
    texts, scores, strong, weak = pilot_of(by_topic, 6, rows=300)
    learned = learn_router(texts, scores, strong, weak, BUILTIN, 0)
    own = own_router(BUILTIN, tmp_path / "model", "a", "b")
    write_router(tmp_path / "model", learned, own)
    wins = (1 + strong - weak).mean() / 2
    assert score_texts(texts, own).mean() == pytest.approx(wins, abs=0.02)


def test_endpoints_of_one_model_are_still_two_sides(tmp_path: Path) -> None:
    texts, scores, strong, weak = pilot_of(by_topic, 7, rows=120)
    learned = learn_router(texts, scores, strong, weak, BUILTIN, 0)
    own = own_router(RouterSpec(use="length", text="question"), tmp_path / "model", "gpt-6.1-sol", "gpt-6.1-sol")
    write_router(tmp_path / "model", learned, own)
    assert (own.use, own.text, own.strong, own.weak) == ("mf", "question", "strong", "weak")
    assert np.ptp(score_texts(texts, own)) > 0


def test_what_was_not_learnt_is_not_written(tmp_path: Path) -> None:
    nothing = learn_router([], np.zeros(0), np.zeros(0), np.zeros(0), BUILTIN, 0)
    assert nothing == Learned(JOB, {}, None, 0, 0)
    with pytest.raises(ValueError, match="no learnt router"):
        write_router(tmp_path / "model", nothing, BUILTIN)
    assert not (tmp_path / "model").exists()


def test_of_a_large_pilot_some_rows_are_learnt_from() -> None:
    assert (some_rows(MOST_ROWS, 0) == np.arange(MOST_ROWS)).all()
    some, other = some_rows(3 * MOST_ROWS, 0), some_rows(3 * MOST_ROWS, 1)
    assert len(set(some.tolist())) == MOST_ROWS
    assert (some != other).any()
    assert some.mean() == pytest.approx(1.5 * MOST_ROWS, rel=0.05)
