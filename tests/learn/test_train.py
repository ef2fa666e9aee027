"""Training: from label files of every form to a model directory that scores, and what is refused on the way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.errors import InputFault
from batchroute.job.spec import RouterSpec
from batchroute.learn.labels.sides import read_labels
from batchroute.learn.ridge import Design, solve_ridge
from batchroute.learn.train.build import train_model
from batchroute.learn.train.recipe import calibration_line, read_recipe, train_recipe
from batchroute.score.checkpoint import read_checkpoint
from batchroute.score.embed.builtin import BUILTIN_DIMENSION, load_builtin
from batchroute.score.router import load_scorer
from batchroute.types import Questions

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.learn.train.recipe import TrainReport
    from batchroute.types import Floats

NAMES = 'strong = "big"\nweak = "small"\n'
CPU = torch.device("cpu")
EASY = [f"Say hello to {name}." for name in ("Ann", "Bob", "Cleo", "Dan", "Eve", "Fay", "Gus", "Hal")]
HARD = [f"Prove the theorem of {name} in full." for name in ("Euler", "Gauss", "Abel", "Weyl", "Noether", "Zorn")]


def score_with(model: Path, prompts: list[str], strong: str = "big", weak: str = "small") -> Floats:
    n = len(prompts)
    questions = Questions(prompts, [None] * n, [None] * n, np.zeros(n, bool), np.zeros(n, np.int64))
    return load_scorer(RouterSpec(model=str(model), strong=strong, weak=weak, device="cpu")).score(questions)


def outcomes() -> pl.DataFrame:
    rows = [(prompt, "big", 1.0) for prompt in EASY + HARD]
    rows += [(prompt, "small", 1.0) for prompt in EASY] + [(prompt, "small", 0.0) for prompt in HARD]
    rows += [(prompt, "other", 0.5) for prompt in EASY]
    return pl.DataFrame(rows, schema=["prompt", "model", "score"], orient="row")


def battles() -> pl.DataFrame:
    rows = [(prompt, "big", "small", "tie") for prompt in EASY]
    rows += [(prompt, "small", "big", "model_b") for prompt in HARD]
    return pl.DataFrame(rows, schema=["prompt", "model_a", "model_b", "winner"], orient="row")


def pairs() -> pl.DataFrame:
    rows = [(prompt, 0.9, 0.9) for prompt in EASY] + [(prompt, 0.9, 0.1) for prompt in HARD]
    return pl.DataFrame(rows, schema=["prompt", "strong", "weak"], orient="row")


def save(frame: pl.DataFrame, file: Path) -> Path:
    writers = {".parquet": frame.write_parquet, ".jsonl": frame.write_ndjson, ".csv": frame.write_csv}
    writers[file.suffix](file)
    return file


@pytest.mark.parametrize("labels", [outcomes, battles, pairs])
@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_a_model_learns_which_prompts_need_the_strong_one(tmp_path: Path, labels: object, suffix: str) -> None:
    assert callable(labels)
    file = save(labels(), tmp_path / f"labels{suffix}")
    report = train_model([file], tmp_path / "model", strong="big", weak="small")
    assert report.prompts == len(EASY) + len(HARD)
    scores = score_with(tmp_path / "model", ["Prove the theorem of Hilbert in full.", "Say hello to Ida."])
    assert scores[0] > scores[1] + 0.02


def test_training_twice_gives_the_same_weights(tmp_path: Path) -> None:
    file = save(outcomes(), tmp_path / "labels.parquet")
    shuffled = save(outcomes().sample(fraction=1, shuffle=True, seed=3), tmp_path / "shuffled.parquet")
    for name, labels in (("first", file), ("again", file), ("shuffled", shuffled)):
        train_model([labels], tmp_path / name, strong="big", weak="small")
    digests = {read_checkpoint(tmp_path / name).digest for name in ("first", "again", "shuffled")}
    assert len(digests) == 1


def test_a_recipe_names_its_sources_and_its_card_says_so(tmp_path: Path) -> None:
    save(outcomes().with_columns(domain=pl.lit("talk")), tmp_path / "a.parquet")
    save(pairs(), tmp_path / "b.jsonl")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'strong = "big"\nweak = "small"\ndata = "made up"\nlicence = "MIT"\nprior = {"prose length" = 0.1}\n'
        '[[labels]]\nfile = "a.parquet"\nstrong = ["big", "other"]\nweak = ["small"]\n'
        '[[labels]]\nfile = "b.jsonl"\nstrong = []\nweak = []\n'
    )
    report = train_recipe(read_recipe(recipe), tmp_path, tmp_path / "model", seed=5, hold_out=True)
    assert set(report.held_out) == {"a.parquet", "b.jsonl"}
    assert all(set(figures) == {"model", "length", "random"} for figures in report.held_out.values())
    card = json.loads((tmp_path / "model" / "batchroute.json").read_text())
    assert card["embedder"] == {"identity": "hashed-ngrams-2", "dimension": BUILTIN_DIMENSION}
    assert (card["data"], card["licence"], card["seed"]) == ("made up", "MIT", 5)
    assert card["evaluation"]["held_out_apgr"] == report.held_out


def test_a_question_is_left_out_with_its_copies_in_other_domains(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    words = ["".join(map(chr, random.integers(97, 123, 9))) for _ in range(300)]
    fails = random.permutation(300) < 150  # with no reason that a prompt could show
    for name, ending in (("a.csv", "?"), ("b.csv", " ?\nA. one\nB. two")):
        frame = pl.DataFrame(
            {
                "prompt": [f"What of {word}{ending}" for word in words],
                "domain": [f"{name}{place % 6}" for place in range(300)],
                "strong": 1.0,
                "weak": np.where(fails, 0.0, 1.0),
            }
        )
        save(frame, tmp_path / name)
    sources = "".join(f'[[labels]]\nfile = "{name}"\nstrong = []\nweak = []\n' for name in ("a.csv", "b.csv"))
    (tmp_path / "recipe.toml").write_text(f"{NAMES}{sources}")
    recipe = read_recipe(tmp_path / "recipe.toml")
    report = train_recipe(recipe, tmp_path, tmp_path / "model", hold_out=True)
    assert all(0.35 < figures["model"] < 0.65 for figures in report.held_out.values())


def train_with(tmp_path: Path, lines: str, frame: pl.DataFrame) -> TrainReport:
    save(frame, tmp_path / "a.csv")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'strong = "big"\nweak = "small"\ncalibrate_on = ""\n'
        f'[[labels]]\nfile = "a.csv"\nstrong = ["big"]\nweak = ["small"]\n{lines}\n'
    )
    return train_recipe(read_recipe(recipe), tmp_path, tmp_path / "model")


def talk_and_proof() -> pl.DataFrame:
    talk = pl.col("prompt").is_in(EASY)
    return outcomes().with_columns(domain=pl.when(talk).then(pl.lit("talk")).otherwise(pl.lit("proof")))


def test_only_the_domains_asked_for_are_learnt_from(tmp_path: Path) -> None:
    assert train_with(tmp_path, 'domains = ["proof"]', talk_and_proof()).prompts == len(HARD)
    with pytest.raises(InputFault, match=r"a\.csv: no labelled prompt of the domains prof"):
        train_with(tmp_path, 'domains = ["prof"]', talk_and_proof())


def test_difficulty_ranks_what_both_sides_fail_on_above_what_one_does(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        [(prompt, "big", 1.0) for prompt in EASY]
        + [(prompt, "small", 0.5) for prompt in EASY]
        + [(prompt, model, 0.0) for prompt in HARD for model in ("big", "small")],
        schema=["prompt", "model", "score"],
        orient="row",
    )
    asked = [HARD[0], EASY[0]]
    train_with(tmp_path, 'target = "difficulty"', frame)
    hard, easy = score_with(tmp_path / "model", asked)
    assert hard > easy
    train_with(tmp_path, 'target = "gain"', frame)
    hard, easy = score_with(tmp_path / "model", asked)
    assert hard < easy


def test_a_prior_adds_what_it_says_per_unit_of_its_feature(tmp_path: Path) -> None:
    texts = ["Tell me a story.", "Sing along with us."]
    for name, prior in (("plain", ""), ("with", 'prior = {"free task" = -0.3}\n')):
        save(outcomes(), tmp_path / "a.csv")
        (tmp_path / "recipe.toml").write_text(
            f'strong = "big"\nweak = "small"\n{prior}'
            '[[labels]]\nfile = "a.csv"\nstrong = ["big"]\nweak = ["small"]\n'
        )
        train_recipe(read_recipe(tmp_path / "recipe.toml"), tmp_path, tmp_path / name)
    logits = [
        np.log(score / (1 - score)) for score in (score_with(tmp_path / n, texts) for n in ("plain", "with"))
    ]
    # three of the four words count, and a gain of 1 is a logit of 2
    np.testing.assert_allclose(logits[1] - logits[0], [-0.3 * 0.75 * 2, 0.0], atol=2e-3)


def test_calibrated_scores_are_the_rate_of_wins() -> None:
    random = np.random.default_rng(0)
    predicted = random.standard_normal(50_000)
    rate = 1 / (1 + np.exp(-(0.7 * predicted + 0.2)))
    gain = 2.0 * (random.random(50_000) < rate) - 1
    assert calibration_line(predicted, gain) == pytest.approx((0.7, 0.2), abs=0.03)
    with pytest.raises(InputFault, match="no better than chance"):
        calibration_line(-predicted, gain)


def test_a_calibrated_model_ranks_as_before(tmp_path: Path) -> None:
    frame = pl.concat(
        [
            outcomes().with_columns(domain=pl.lit(str(part)), prompt=pl.col("prompt") + f" {part}")
            for part in range(6)
        ]
    )
    save(frame, tmp_path / "a.csv")
    scores = {}
    for name in ("", "a.csv"):
        (tmp_path / "recipe.toml").write_text(
            f'strong = "big"\nweak = "small"\ncalibrate_on = "{name}"\n'
            '[[labels]]\nfile = "a.csv"\nstrong = ["big"]\nweak = ["small"]\n'
        )
        train_recipe(read_recipe(tmp_path / "recipe.toml"), tmp_path, tmp_path / f"model{name}")
        scores[name] = score_with(tmp_path / f"model{name}", [f"{prompt} 0" for prompt in EASY + HARD])
    assert (np.argsort(scores["a.csv"]) == np.argsort(scores[""])).all()
    # the strong side ties on EASY and wins on HARD
    easy, hard = (np.abs(scores["a.csv"] - rate) for rate in (0.5, 1.0))
    assert easy[: len(EASY)].max() < 0.1
    assert hard[len(EASY) :].max() < 0.1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("strong = 1", "Expected `str`"),
        ("what = 1", "unknown field|missing required"),
        ("=", "recipe.toml"),
        (NAMES + "labels = []\nprior = {lenght = 1}", "prior: no feature is named 'lenght'; there are constant, "),
        (NAMES + 'labels = []\ncalibrate_on = "b.csv"', r"calibrate_on: no \[\[labels\]\] has the file 'b.csv'"),
    ],
)
def test_a_recipe_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(InputFault, match=message):
        read_recipe(tmp_path / "recipe.toml")


def test_several_answers_to_a_prompt_count_by_their_mean(tmp_path: Path) -> None:
    rows = [("q", "big", 1.0), ("q", "big", 0.0), ("q", "small", 0.25), ("p", "big", 1.0), ("p", "small", 1.0)]
    frame = pl.DataFrame([*rows, ("lonely", "big", 1.0)], schema=["prompt", "model", "score"], orient="row")
    labels = read_labels(save(frame, tmp_path / "labels.csv"), ["big"], ["small"])
    assert labels.prompts == ["p", "q"]
    assert labels.domains == ["labels", "labels"]
    assert labels.gain.tolist() == [0.0, 0.25]


def replaced(frame: pl.DataFrame, column: str, value: object) -> pl.DataFrame:
    return frame.with_columns(pl.Series(column, [value, *frame[column].to_list()[1:]], strict=False))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (replaced(battles(), "winner", "model_c"), "winner is 'model_c', not one of model_a, tie, model_b"),
        (replaced(battles(), "winner", None), "winner is 'null'"),
        (replaced(outcomes(), "score", float("nan")), "a score is missing, NaN or not in"),
        (replaced(outcomes(), "score", 1.5), "a score is missing, NaN or not in"),
        (replaced(pairs(), "weak", None), "a score is missing, NaN or not in"),
        (replaced(pairs(), "prompt", None), "a prompt is missing"),
        (
            outcomes().filter(pl.col("model") != "small"),
            r"no labels of the weak side \(small\); the file has big, other",
        ),
        (pairs().with_columns(weak="strong"), "equally good on every prompt"),
        (battles().with_columns(winner=pl.lit("tie")), "equally good on every prompt"),
        (outcomes().rename({"score": "points"}), "need one of these sets of columns: prompt, model, score;"),
    ],
)
def test_labels_that_teach_nothing_are_refused(tmp_path: Path, frame: pl.DataFrame, message: str) -> None:
    file = save(frame, tmp_path / "labels.parquet")
    with pytest.raises(InputFault, match=f"^{file}: .*{message}"):
        train_model([file], tmp_path / "model", strong="big", weak="small")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("name", "message"), [("labels.txt", "labels are read from"), ("none.csv", "cannot be read")]
)
def test_a_label_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(InputFault, match=f"{name}: {message}"):
        read_labels(tmp_path / name, ["big"], ["small"])


def dense(design: Design) -> torch.Tensor:
    """The feature matrix, one unit row at a time."""
    rows = torch.eye(len(design.encoded.surface), dtype=torch.float64)
    return torch.stack([design.transposed_times(row) for row in rows])


def test_conjugate_gradients_find_the_ridge_solution() -> None:
    embedder = load_builtin(CPU)
    design = Design(embedder, embedder.encode(EASY + HARD))
    matrix = dense(design)
    generator = torch.Generator().manual_seed(1)
    target = torch.rand(len(matrix), generator=generator, dtype=torch.float64)
    weights = torch.rand(len(matrix), generator=generator, dtype=torch.float64) + 0.5
    ridge = 0.7
    # the dual form: v = X^T (X X^T + ridge / weights)^-1 y
    inner = torch.linalg.solve(matrix @ matrix.T + torch.diag(ridge / weights), target)
    expected = matrix.T @ inner
    solved = solve_ridge(design, target, weights, ridge, tolerance=1e-9)
    assert float((solved - expected).norm() / expected.norm()) < 1e-6


@settings(max_examples=15)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=5))
def test_the_design_multiplies_as_its_own_transpose_does(texts: list[str]) -> None:
    embedder = load_builtin(CPU)
    design = Design(embedder, embedder.encode(texts))
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(BUILTIN_DIMENSION, generator=generator, dtype=torch.float64)
    rows = torch.randn(len(texts), generator=generator, dtype=torch.float64)
    left = float(rows @ design.times(vector))
    assert left == pytest.approx(float(design.transposed_times(rows) @ vector), abs=1e-8)
