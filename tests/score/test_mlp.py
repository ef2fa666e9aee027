"""The small network: its formula prompt by prompt, its neighbours, its file."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from batchroute.errors import ModelFault
from batchroute.job.spec import EmbedderSpec, RouterSpec
from batchroute.learn.train.features import DenseFeatures, embed_prompts, ranges
from batchroute.score.embed.builtin import BUILTIN_DIMENSION, load_builtin
from batchroute.score.embed.projection import NgramProjection, project
from batchroute.score.mlp import read_network
from batchroute.score.router import load_scorer
from batchroute.types import Questions
from checkpoints import MLP_DIMENSION, mlp_weights, write_mlp
from checkpoints import MLP_NAMES as NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchroute.types import Floats, Vectors

CPU = torch.device("cpu")


def ask(texts: Sequence[str], vectors: Vectors | None = None) -> Questions:
    n = len(texts)
    return Questions(list(texts), [None] * n, [None] * n, np.zeros(n, bool), np.zeros(n, np.int64), vectors)


def spec_of(
    model: Path, strong: str = "a", weak: str = "b", batch_size: int = 1024, use: str = "column"
) -> RouterSpec:
    embedder = EmbedderSpec(use=use, column="v" if use == "column" else None)
    return RouterSpec(
        use="mlp",
        model=str(model),
        strong=strong,
        weak=weak,
        device="cpu",
        batch_size=batch_size,
        embedder=embedder,
    )


def by_hand(weights: dict[str, torch.Tensor], vector: Sequence[float], strong: int, weak: int) -> float:
    hidden, bias, output, offset = (weights[key].double().tolist() for key in weights)
    layer = [
        max(0.0, b + sum(w * x for w, x in zip(row, vector, strict=True)))
        for row, b in zip(hidden, bias, strict=True)
    ]
    strengths = [
        sum(o * h for o, h in zip(output[model], layer, strict=True)) + offset[model] for model in (strong, weak)
    ]
    return 1 / (1 + math.exp(strengths[1] - strengths[0]))


numbers = st.floats(-2, 2, width=32)
some_vectors = st.lists(st.lists(numbers, min_size=MLP_DIMENSION, max_size=MLP_DIMENSION), min_size=1, max_size=8)


@settings(max_examples=25)
@given(some_vectors, st.permutations(range(3)), st.integers(1, 4), st.data())
def test_scores_are_the_formulas_for_any_two_models_in_any_batches_and_order(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[list[float]],
    pair: list[int],
    batch_size: int,
    data: st.DataObject,
) -> None:
    weights = mlp_weights()
    model = write_mlp(tmp_path_factory.mktemp("model"), weights)
    given_vectors = np.array(rows, np.float32)
    order = data.draw(st.permutations(range(len(rows))))
    strong, weak = pair[:2]
    whole = load_scorer(spec_of(model, NAMES[strong], NAMES[weak])).score(ask([""] * len(rows), given_vectors))
    parts = load_scorer(spec_of(model, NAMES[strong], NAMES[weak], batch_size))
    expected = [by_hand(weights, row, strong, weak) for row in given_vectors.tolist()]
    np.testing.assert_allclose(whole, expected, atol=1e-9)
    np.testing.assert_allclose(parts.score(ask([""] * len(rows), given_vectors[order])), whole[order], atol=1e-12)


@pytest.fixture(scope="module")
def on_builtin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    weights = mlp_weights(BUILTIN_DIMENSION)
    return write_mlp(tmp_path_factory.mktemp("builtin"), weights, embedder="hashed-ngrams-2")


choices = st.just("Which of them?\nA. this\nB. that")
texts = st.lists(st.one_of(st.text(max_size=40), choices), min_size=1, max_size=9)


@settings(max_examples=15)
@given(texts, st.integers(1, 4), st.data())
def test_on_the_builtin_embedder_neighbours_change_nothing(
    on_builtin: Path, prompts: list[str], batch_size: int, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(prompts))))
    whole = load_scorer(spec_of(on_builtin, use="builtin")).score(ask(prompts))
    parts = load_scorer(spec_of(on_builtin, use="builtin", batch_size=batch_size))
    np.testing.assert_allclose(parts.score(ask([prompts[place] for place in order])), whole[order], atol=1e-12)


@settings(max_examples=15)
@given(texts)
def test_projecting_is_folding_once_for_each_row(prompts: list[str]) -> None:
    weights = torch.randn(3, BUILTIN_DIMENSION, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    projection = project(EmbedderSpec(), weights, CPU)
    assert isinstance(projection, NgramProjection)
    embedder = load_builtin(CPU)
    folded = torch.stack([embedder.fold(row)(ask(prompts)) for row in weights], dim=1)
    torch.testing.assert_close(projection(ask(prompts)), folded, atol=1e-9, rtol=0)
    features = embed_prompts(prompts, None, RouterSpec(), CPU)
    every = torch.arange(len(prompts))
    trained_on = features.times(every, weights.T.float().contiguous(), 0.0, torch.Generator())
    torch.testing.assert_close(trained_on.double(), folded, atol=1e-3, rtol=1e-4)


def test_no_texts_have_no_products() -> None:
    weights = torch.zeros(3, BUILTIN_DIMENSION)
    assert project(EmbedderSpec(), weights, CPU)(ask([])).shape == (0, 3)


def test_noise_in_the_product_is_noise_on_the_vectors() -> None:
    """Drawn in the product, or on vectors that are shorter than it: the same mean and covariance."""
    table = torch.randn(BUILTIN_DIMENSION, 2, generator=torch.Generator().manual_seed(0)) / 100
    sparse = embed_prompts(["Why is the sky blue?"], None, RouterSpec(), CPU)
    rows = torch.zeros(20_000, dtype=torch.int64)
    noisy = sparse.times(rows, table, 0.5, torch.Generator().manual_seed(1))
    clean = sparse.times(rows[:1], table, 0.0, torch.Generator())
    np.testing.assert_allclose((noisy - clean).mean(dim=0), 0, atol=0.05)
    np.testing.assert_allclose(
        np.cov((noisy - clean).T.numpy()), 0.25 * (table.T @ table).numpy(), rtol=0.05, atol=0.1
    )
    for dimension in (40, 1):
        small = table[:dimension]
        dense = DenseFeatures(torch.ones(1, dimension))
        noisy = dense.times(rows, small, 0.5, torch.Generator().manual_seed(2)) - small.sum(dim=0)
        expected = 0.25 * (small.T @ small).numpy()
        np.testing.assert_allclose(np.cov(noisy.T.numpy()), expected, rtol=0.1, atol=1e-4)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 4)), max_size=8))
def test_ranges_follow_one_another(spans: list[tuple[int, int]]) -> None:
    starts, lengths = (torch.tensor([span[place] for span in spans], dtype=torch.int64) for place in (0, 1))
    expected = [number for start, length in spans for number in range(start, start + length)]
    assert ranges(starts, lengths).tolist() == expected


def test_a_written_network_comes_back(tmp_path: Path) -> None:
    weights = mlp_weights()
    model = read_network(write_mlp(tmp_path / "model", weights))
    assert (model.names, model.embedder) == (NAMES, "column")
    for key, tensor in zip(weights, (model.hidden, model.bias, model.output, model.offset), strict=True):
        torch.testing.assert_close(tensor, weights[key].double())
    again = read_network(write_mlp(tmp_path / "again", weights))
    other = read_network(write_mlp(tmp_path / "other", weights | {"output.bias": torch.zeros(3)}))
    assert model.digest == again.digest != other.digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden.bias": torch.ones(4)}, r"hidden.bias has shape \[4\], but the others ask for \[5\]"),
        ({"output.weight": torch.ones(3, 6)}, r"output.weight has shape \[3, 6\]"),
        ({"output.bias": torch.ones(2)}, r"output.bias has shape \[2\]"),
        ({"hidden.weight": torch.ones(35)}, "must be matrices"),
        ({"output.bias": torch.full((3,), torch.nan)}, "output.bias holds NaN"),
        ({"P.weight": torch.ones(3, 2)}, 'holds a matrix-factorisation model; set .router. use = "mf"'),
    ],
)
def test_what_is_wrong_with_the_weights_is_said(
    tmp_path: Path, changes: dict[str, torch.Tensor], message: str
) -> None:
    folder = write_mlp(tmp_path / "model", mlp_weights())
    save_file(mlp_weights() | changes, folder / "model.safetensors")
    with pytest.raises(ModelFault, match=message):
        read_network(folder)


def test_models_and_settings_that_do_not_fit_are_refused(tmp_path: Path, on_builtin: Path) -> None:
    column = write_mlp(tmp_path / "model", mlp_weights())
    for spec, message in (
        (RouterSpec(use="mlp"), "mlp has no built-in model; train one"),
        (RouterSpec(use="mf", model=str(column)), 'holds a model of another router; set .router. use = "mlp"'),
        (spec_of(column, strong="d"), "no model named 'd' in its table; it has a, b, c"),
        (spec_of(column, use="builtin"), "reads vectors of 7 numbers, `builtin` makes"),
        (
            spec_of(on_builtin).model_copy(update={"embedder": EmbedderSpec(use="openai")}),
            "trained on the embedder",
        ),
    ):
        with pytest.raises(ModelFault, match=message):
            load_scorer(spec)
    with pytest.raises(ModelFault, match="trained on vectors of 7 numbers, not 3"):
        load_scorer(spec_of(column)).score(ask(["x"], np.ones((1, 3), np.float32)))


def scores_of(model: Path, device: str, vectors: Vectors) -> Floats:
    spec = spec_of(model).model_copy(update={"device": device})
    return load_scorer(spec).score(ask([""] * len(vectors), vectors))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_gpu_scores_as_the_cpu_does(tmp_path: Path) -> None:
    model = write_mlp(tmp_path / "model", mlp_weights())
    vectors = np.random.default_rng(0).standard_normal((50, MLP_DIMENSION)).astype(np.float32)
    np.testing.assert_allclose(scores_of(model, "cuda", vectors), scores_of(model, "cpu", vectors), atol=1e-6)
