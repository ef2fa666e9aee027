"""Training: from label files of every form to a model directory that scores, and what is refused on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.errors import InputFault
from batchroute.job.spec import RouterSpec
from batchroute.learn.labels.sides import read_labels
from batchroute.learn.train.build import train_model
from batchroute.learn.train.gain import Design, solve_ridge
from batchroute.score.checkpoint import read_checkpoint
from batchroute.score.embed.builtin import HashedNgrams
from batchroute.score.embed.embedders import BUILTIN_DIMENSION
from batchroute.score.rater import bare_questions
from batchroute.score.router import load_scorer
from labelled import EASY, HARD, battles, outcomes, pairs, save

if TYPE_CHECKING:
    from pathlib import Path


CPU = torch.device("cpu")


@pytest.mark.parametrize("labels", [outcomes, battles, pairs])
@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_a_model_learns_which_prompts_need_the_strong_one(tmp_path: Path, labels: object, suffix: str) -> None:
    assert callable(labels)
    file = save(labels(), tmp_path / f"labels{suffix}")
    report = train_model([file], tmp_path / "model", strong="big", weak="small")
    assert report.prompts == len(EASY) + len(HARD)
    spec = RouterSpec(model=str(tmp_path / "model"), strong="big", weak="small", device="cpu")
    new = ["Prove the theorem of Fermat in full.", "Say hello to Pia."]
    scores = load_scorer(spec).score(bare_questions(new))
    assert scores[0] > scores[1] + 0.02


def test_training_twice_gives_the_same_weights(tmp_path: Path) -> None:
    file = save(outcomes(), tmp_path / "labels.parquet")
    shuffled = save(outcomes().sample(fraction=1, shuffle=True, seed=3), tmp_path / "shuffled.parquet")
    for name, labels in (("first", file), ("again", file), ("shuffled", shuffled)):
        train_model([labels], tmp_path / name, strong="big", weak="small")
    digests = {read_checkpoint(tmp_path / name).digest for name in ("first", "again", "shuffled")}
    assert len(digests) == 1


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
            outcomes(others=1).filter(pl.col("model") != "small"),
            r"no labels of the weak side \(small\); the file has big, other-0",
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
    embedder = HashedNgrams(CPU)
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
    embedder = HashedNgrams(CPU)
    design = Design(embedder, embedder.encode(texts))
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(BUILTIN_DIMENSION, generator=generator, dtype=torch.float64)
    rows = torch.randn(len(texts), generator=generator, dtype=torch.float64)
    left = float(rows @ design.times(vector))
    assert left == pytest.approx(float(design.transposed_times(rows) @ vector), abs=1e-8)
