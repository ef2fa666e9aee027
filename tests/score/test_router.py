"""Routers: what each scores, that neighbours and batches change nothing, and what is refused."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from batchroute.errors import ModelFault
from batchroute.job.spec import EmbedderSpec, RouterSpec
from batchroute.score.mf import resolve_device
from batchroute.score.rater import bare_questions
from batchroute.score.router import Scorer, load_scorer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchroute.types import Floats, Questions, Vectors

SIMPLE = (
    "Hi!",
    "What is the capital of France?",
    "Thanks, that helps.",
    "Who wrote Hamlet?",
    "Translate 'good morning' to Spanish.",
)
HARD = (
    "If a train leaves at 3 PM and travels 60 km/h, how far will it travel by 6:30 PM?",
    "Write a Python function to check if a given string is a palindrome, ignoring punctuation and spaces.",
)
TEXT_DIM = 8


def ask(texts: Sequence[str], vectors: Vectors | None = None, refused: Sequence[int] = ()) -> Questions:
    questions = bare_questions(texts, vectors)
    questions.refused[list(refused)] = True
    return questions


@pytest.fixture(scope="module")
def builtin() -> Scorer:
    return load_scorer(RouterSpec(device="cpu"))


@pytest.fixture(scope="module")
def column_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = torch.Generator().manual_seed(0)
    file = tmp_path_factory.mktemp("model") / "mf.safetensors"
    weights = {
        "P.weight": torch.randn(64, 4, generator=generator),
        "text_proj.0.weight": torch.randn(4, TEXT_DIM, generator=generator),
        "classifier.0.weight": torch.randn(1, 4, generator=generator),
    }
    save_file(weights, file)
    return file


def test_the_builtin_model_ranks_hard_prompts_above_simple_ones(builtin: Scorer) -> None:
    scores = builtin.score(ask((*SIMPLE, *HARD)))
    assert scores[: len(SIMPLE)].max() < scores[len(SIMPLE) :].min()


def test_the_builtin_model_is_no_constant(builtin: Scorer) -> None:
    scores = builtin.score(ask([f"{a} {b}" for a in SIMPLE + HARD for b in SIMPLE + HARD]))
    assert len(np.unique(scores)) > 40
    assert scores.std() > 0.01


@pytest.mark.parametrize("use", ["mf", "random", "length"])
@settings(max_examples=12)
@given(texts=st.lists(st.text(max_size=60), min_size=1, max_size=12), batch_size=st.integers(1, 5), data=st.data())
def test_neither_batches_nor_order_change_a_score(
    use: str, texts: list[str], batch_size: int, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(texts))))
    whole = load_scorer(RouterSpec(use=use, device="cpu")).score(ask(texts))
    parts = load_scorer(RouterSpec(use=use, device="cpu", batch_size=batch_size))
    np.testing.assert_allclose(parts.score(ask([texts[i] for i in order])), whole[order], atol=1e-12)
    assert ((whole >= 0) & (whole <= 1)).all()


@pytest.mark.parametrize("use", ["mf", "random", "length"])
def test_refused_rows_have_no_score_and_the_others_keep_theirs(use: str) -> None:
    scorer = load_scorer(RouterSpec(use=use, device="cpu", batch_size=2))
    scores = scorer.score(ask(["one", "", "three"], refused=[1]))
    assert np.isnan(scores).tolist() == [False, True, False]
    assert scores[[0, 2]].tolist() == scorer.score(ask(["one", "three"])).tolist()


def test_no_questions_have_no_scores(builtin: Scorer) -> None:
    assert builtin.score(ask([])).shape == (0,)


def test_random_is_uniform_and_follows_its_seed() -> None:
    texts = [f"prompt {i}" for i in range(4000)]
    first, again, other = (load_scorer(RouterSpec(use="random", seed=s)).score(ask(texts)) for s in (1, 1, 2))
    assert (first == again).all()
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.06
    counts = np.histogram(first, bins=10, range=(0, 1))[0]
    assert counts.min() > 320
    assert counts.max() < 480


@given(st.lists(st.text(max_size=300), min_size=2, max_size=8))
def test_length_is_monotone_in_characters(texts: list[str]) -> None:
    scores = load_scorer(RouterSpec(use="length")).score(ask(texts))
    by_score = sorted(texts, key=lambda text: scores[texts.index(text)])
    assert [len(text) for text in by_score] == sorted(len(text) for text in texts)


def test_given_vectors_are_scored_as_the_formula_says(column_model: Path) -> None:
    vectors = np.random.default_rng(3).standard_normal((50, TEXT_DIM)).astype(np.float32)
    scorer = load_scorer(column_spec(column_model, batch_size=7))
    vector = _folded(column_model)
    expected = [1 / (1 + math.exp(-float(row.astype(np.float64) @ vector))) for row in vectors]
    np.testing.assert_allclose(scorer.score(ask([""] * 50, vectors)), expected, atol=1e-6)


def test_a_vector_that_is_not_a_number_is_said_unless_its_row_is_refused(column_model: Path) -> None:
    vectors = np.ones((2, TEXT_DIM), np.float32)
    vectors[1, 3] = np.nan
    scorer = load_scorer(column_spec(column_model))
    assert np.isnan(scorer.score(ask(["a", "b"], vectors, refused=[1]))).tolist() == [False, True]
    with pytest.raises(ModelFault, match="beginning 'b'"):
        scorer.score(ask(["a", "b"], vectors))


def test_the_identity_names_pair_model_and_embedder(builtin: Scorer, column_model: Path) -> None:
    same = load_scorer(RouterSpec(device="cpu", batch_size=3)).identity
    swapped = load_scorer(
        RouterSpec(strong="mixtral-8x7b-instruct-v0.1", weak="gpt-4-1106-preview", device="cpu")
    ).identity
    other = load_scorer(column_spec(column_model)).identity
    assert builtin.identity == same
    assert len({same, swapped, other}) == 3
    assert load_scorer(RouterSpec(use="random", seed=4)).identity == "random:4"


def test_swapping_the_sides_turns_the_scores_round(builtin: Scorer) -> None:
    swapped = load_scorer(RouterSpec(strong="mixtral-8x7b-instruct-v0.1", weak="gpt-4-1106-preview", device="cpu"))
    np.testing.assert_allclose(builtin.score(ask(HARD)) + swapped.score(ask(HARD)), 1, atol=1e-12)


class Alternating:
    """A router as a user would write one."""

    def score(self, prompts: Sequence[str]) -> Floats:
        return np.array([len(prompt) % 2 for prompt in prompts], np.float64)


class TooFew(Alternating):
    def score(self, prompts: Sequence[str]) -> Floats:
        return super().score(prompts)[1:]


class TooHigh(Alternating):
    def score(self, prompts: Sequence[str]) -> Floats:
        return super().score(prompts) + 0.5


class NotANumber(Alternating):
    def score(self, prompts: Sequence[str]) -> Floats:
        return super().score(prompts) * math.nan


class Words(Alternating):
    def score(self, prompts: Sequence[str]) -> Floats:
        return np.array([str(len(prompt) % 2) for prompt in prompts])


class Ragged(Alternating):
    def score(self, prompts: Sequence[str]) -> Any:
        return [[0.5], [0.5, 0.5]]


class Learning(Alternating):
    """As a router comes out of a training loop: with a gradient, in half precision."""

    def score(self, prompts: Sequence[str]) -> Any:
        return torch.tensor(super().score(prompts), dtype=torch.bfloat16, requires_grad=True)


class Mute:
    pass


def custom(cls: type) -> RouterSpec:
    return RouterSpec(use=f"{cls.__module__}:{cls.__name__}")


def test_a_custom_router_is_imported_and_asked() -> None:
    for cls in (Alternating, Learning):
        assert load_scorer(custom(cls)).score(ask(["a", "bb"])).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (TooFew, r"TooFew: `score` gave an array of shape \[1\] for 2 prompts"),
        (TooHigh, r"TooHigh: a score is not in \[0, 1\]"),
        (NotANumber, r"NotANumber: a score is not in \[0, 1\]"),
        (Words, "Words: `score` gave an array of <U1, not of numbers"),
        (Ragged, "Ragged: `score` gave no array of numbers"),
    ],
)
def test_a_custom_router_that_misbehaves_is_named(cls: type, message: str) -> None:
    with pytest.raises(ModelFault, match=message):
        load_scorer(custom(cls)).score(ask(["a", "bb"]))


def test_routers_and_models_that_are_not_there() -> None:
    with pytest.raises(ModelFault, match="Mute: the class needs a method `score`"):
        load_scorer(custom(Mute))
    for name in ("bert", "mlp"):
        with pytest.raises(ModelFault, match=f"no router is named '{name}'; use mf, random, length or package"):
            load_scorer(RouterSpec(use=name))
    with pytest.raises(ModelFault, match="no model named 'gpt-5'"):
        load_scorer(RouterSpec(strong="gpt-5", device="cpu"))


def test_a_model_of_another_embedder_is_refused(column_model: Path) -> None:
    with pytest.raises(ModelFault, match="reads vectors of 8 numbers"):
        load_scorer(RouterSpec(model=str(column_model), device="cpu"))
    with pytest.raises(ModelFault, match="trained on the embedder 'hashed-ngrams-2'"):
        load_scorer(RouterSpec(embedder=EmbedderSpec(use="openai"), device="cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_absent_is_said_and_auto_does_without() -> None:
    assert resolve_device("auto").type == "cpu"
    with pytest.raises(ModelFault, match=r"router\.device is .cuda:1., but torch sees 0 GPUs"):
        resolve_device("cuda:1")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_gpu_scores_as_the_cpu_does(builtin: Scorer) -> None:
    on_gpu = load_scorer(RouterSpec(device="cuda"))
    np.testing.assert_allclose(on_gpu.score(ask(SIMPLE + HARD)), builtin.score(ask(SIMPLE + HARD)), atol=1e-6)


def column_spec(model: Path, batch_size: int = 1024) -> RouterSpec:
    return RouterSpec(
        model=str(model), embedder=EmbedderSpec(use="column", column="v"), device="cpu", batch_size=batch_size
    )


def _folded(model: Path) -> Floats:
    from batchroute.score.checkpoint import read_checkpoint  # noqa: PLC0415  (the oracle's only use of it)

    folded: Floats = read_checkpoint(model).folded("gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1")
    return folded
