"""RouteLLM's formula, end to end: any two models of a 64-row checkpoint on any vectors, in any batches."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from batchroute.job.spec import EmbedderSpec, RouterSpec
from batchroute.score.checkpoint import ROUTELLM_MODELS, Card, read_checkpoint, write_checkpoint
from batchroute.score.rater import bare_questions
from batchroute.score.router import load_scorer

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.types import Floats, Vectors

DIM, TEXT_DIM = 128, 1536  # as published


def weights_of(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "P.weight": torch.randn(64, DIM, generator=generator),
        "text_proj.0.weight": torch.randn(DIM, TEXT_DIM, generator=generator),
        "classifier.0.weight": torch.randn(1, DIM, generator=generator) / 4,
    }


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("model") / "mf.safetensors"
    save_file(weights_of(0), file)
    return file


def routellm_forward(weights: dict[str, torch.Tensor], vector: torch.Tensor, strong: int, weak: int) -> float:
    """One prompt at a time, unfolded, in single precision: the steps of RouteLLM's own forward."""
    rows = torch.nn.functional.normalize(weights["P.weight"][[strong, weak]], p=2, dim=1)
    projected = weights["text_proj.0.weight"] @ vector
    logits = weights["classifier.0.weight"] @ ((rows[0] - rows[1]) * projected)
    return float(torch.sigmoid(logits))


def score(model: Path, strong: int, weak: int, vectors: Vectors, batch_size: int) -> Floats:
    spec = RouterSpec(
        model=str(model),
        strong=ROUTELLM_MODELS[strong],
        weak=ROUTELLM_MODELS[weak],
        embedder=EmbedderSpec(use="column", column="v"),
        device="cpu",
        batch_size=batch_size,
    )
    return load_scorer(spec).score(bare_questions([""] * len(vectors), vectors))


def unit_vectors(n: int, seed: int) -> Vectors:
    """Of length 1, as OpenAI's are."""
    made = np.random.default_rng(seed).standard_normal((n, TEXT_DIM))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=30)
@given(
    st.integers(0, 63), st.integers(0, 63), st.integers(1, 9), st.integers(0, 10_000), st.integers(1, 4), st.data()
)
def test_folded_is_unfolded_is_each_row_by_itself(
    checkpoint: Path, strong: int, weak: int, n: int, seed: int, batch_size: int, data: st.DataObject
) -> None:
    weights, vectors = weights_of(0), unit_vectors(n, seed)
    whole = score(checkpoint, strong, weak, vectors, 1024)
    expected = [routellm_forward(weights, torch.from_numpy(vector), strong, weak) for vector in vectors]
    np.testing.assert_allclose(whole, expected, atol=1e-5)
    order = data.draw(st.permutations(range(n)))
    np.testing.assert_allclose(
        score(checkpoint, strong, weak, vectors[order], batch_size), whole[order], atol=1e-6
    )
    np.testing.assert_allclose(score(checkpoint, weak, strong, vectors, 1024), 1 - whole, atol=1e-6)


def test_the_scores_are_spread_so_that_a_wrong_row_would_show(checkpoint: Path) -> None:
    vectors = unit_vectors(200, 1)
    first, second = (score(checkpoint, *pair, vectors, 64) for pair in ((24, 36), (24, 35)))
    assert first.std() > 0.05
    assert np.abs(first - second).max() > 0.1


@settings(max_examples=10)
@given(st.integers(0, 1000), st.integers(2, 5))
def test_a_model_that_is_written_scores_as_before(
    tmp_path_factory: pytest.TempPathFactory, seed: int, models: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights = {
        "P.weight": torch.randn(models, 3, generator=generator),
        "text_proj.0.weight": torch.randn(3, 4, generator=generator),
        "classifier.0.weight": torch.randn(1, 3, generator=generator),
    }
    names = tuple(f"m{n}" for n in range(models))
    card = Card(names, "column", 4, data="made up", licence="none", seed=seed, evaluation={})
    folder = tmp_path_factory.mktemp("model")
    write_checkpoint(folder, weights, card)
    model = read_checkpoint(folder)
    vector = torch.randn(4, generator=generator)
    logit = float(model.folded("m0", "m1") @ vector.double().numpy())
    expected = routellm_forward(weights, vector, 0, 1)
    assert 1 / (1 + math.exp(-logit)) == pytest.approx(expected, abs=1e-6)
