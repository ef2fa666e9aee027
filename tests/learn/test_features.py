"""What a model is trained on: the same products as scoring takes, noise, and gradients that can be repeated."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.job.spec import RouterSpec
from batchroute.learn.train.features import DenseFeatures, embed_prompts, ranges
from batchroute.learn.train.fit import begin
from batchroute.score.embed.builtin import HashedNgrams
from batchroute.score.embed.embedders import BUILTIN_DIMENSION
from batchroute.score.rater import bare_questions

CPU = torch.device("cpu")
choices = st.just("Which of them?\nA. this\nB. that")
texts = st.lists(st.one_of(st.text(max_size=40), choices), min_size=1, max_size=9)


@settings(max_examples=15)
@given(texts)
def test_a_model_is_trained_on_the_products_it_scores_by(prompts: list[str]) -> None:
    table = torch.randn(3, BUILTIN_DIMENSION, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    folded = torch.stack([HashedNgrams(CPU).fold(row)(bare_questions(prompts)) for row in table], dim=1)
    features = embed_prompts(prompts, None, RouterSpec(), CPU)
    every = torch.arange(len(prompts))
    trained_on = features.times(every, table.T.float().contiguous(), 0.0, torch.Generator())
    torch.testing.assert_close(trained_on.double(), folded, atol=1e-3, rtol=1e-4)


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


def test_training_does_not_depend_on_which_thread_is_first() -> None:
    generator = torch.Generator().manual_seed(0)
    start = begin(4, 3, generator)
    first, second = torch.randint(0, 4, (2, 50_000), generator=generator)
    projected = torch.randn(50_000, start.table.shape[1], generator=generator)

    def gradient() -> torch.Tensor:
        parameters = start.each(lambda tensor: tensor.clone().requires_grad_())
        torch.autograd.backward(parameters.logits(projected, first, second).sigmoid().mean())
        assert parameters.models.grad is not None
        return parameters.models.grad

    assert len({gradient().numpy().tobytes() for _ in range(8)}) == 1


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 4)), max_size=8))
def test_ranges_follow_one_another(spans: list[tuple[int, int]]) -> None:
    starts, lengths = (torch.tensor([span[place] for span in spans], dtype=torch.int64) for place in (0, 1))
    expected = [number for start, length in spans for number in range(start, start + length)]
    assert ranges(starts, lengths).tolist() == expected
