"""The built-in embedder against a slow, literal reading of its definition, and the seam for other embedders."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from batchroute.errors import ModelFault
from batchroute.job.spec import EmbedderSpec
from batchroute.score.embed.builtin import MOST_CHARS, SURFACE_SCALE, HashedNgrams
from batchroute.score.embed.embedders import BUILTIN_DIMENSION, SHARED, identity, import_class
from batchroute.score.embed.ngrams import (
    BIGRAM_MULTIPLIER,
    BUCKETS,
    CHAR3_MULTIPLIER,
    CHAR4_MULTIPLIER,
    POLYNOMIAL_BASE,
    WORD_MULTIPLIER,
    find_words,
    fold_case,
    lay_out,
)
from batchroute.score.embed.product import DenseProduct, fold
from batchroute.score.embed.surface import FEATURES, IS_CHOICE, surface_features
from batchroute.score.rater import bare_questions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from batchroute.types import Floats, Vectors

CPU = torch.device("cpu")
texts_of_any_kind = st.lists(
    st.one_of(
        st.text(max_size=40),
        st.text(alphabet="ab 1.\n\x00A\u00e9\u4e2d\ud83d", max_size=40),
        st.sampled_from(["", " ", "a", "ab", "What is 2+2?\nA. 3\nB. 4\nAnswer:", "def f(x):\n    return x"]),
    ),
    min_size=1,
    max_size=6,
)


def folded_bytes(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogatepass")
    raw = re.sub(rb"[\x00-\x20\x7f]", b" ", raw)
    return re.sub(rb"[0-9]", b"0", raw.lower())


def char_buckets(text: str) -> set[int]:
    data = b" " + (folded_bytes(text) or b" ") + b" "
    mask, shift = (1 << 32) - 1, 32 - 16
    threes = {int.from_bytes(b"\0" + data[i : i + 3], "little") for i in range(len(data) - 2)}
    fours = {int.from_bytes(data[i : i + 4], "little") for i in range(len(data) - 3)}
    found = {(window * int(CHAR3_MULTIPLIER) & mask) >> shift for window in threes}
    return found | {(window * int(CHAR4_MULTIPLIER) & mask) >> shift for window in fours}


def words_of(text: str) -> list[bytes]:
    return re.findall(rb"[a-z0\x80-\xff]+", folded_bytes(text))


def word_buckets(text: str) -> set[int]:
    mask, shift = (1 << 64) - 1, 64 - 16
    hashes = []
    for word in words_of(text):
        value = sum(byte * pow(POLYNOMIAL_BASE, i, 1 << 64) for i, byte in enumerate(word)) & mask
        value = (value ^ (value >> 29)) * int(WORD_MULTIPLIER) & mask
        hashes.append(value ^ (value >> 32))
    pairs = [(a * int(BIGRAM_MULTIPLIER) + b) & mask for a, b in pairwise(hashes)]
    return {(value * int(WORD_MULTIPLIER) & mask) >> shift for value in (*hashes, *pairs)}


def slow_vector(text: str) -> Floats:
    """[BUILTIN_DIMENSION] e, written out as HashedNgrams defines it."""
    shared = np.zeros(SHARED)
    for kind, buckets in enumerate((char_buckets(text), word_buckets(text))):
        shared[[kind * BUCKETS + bucket for bucket in buckets]] = 1 / math.sqrt(max(1, len(buckets)))
    layout = lay_out([text])
    surface = surface_features(layout, find_words(fold_case(layout), layout))[0]
    shared[2 * BUCKETS :] = surface * SURFACE_SCALE
    return np.concatenate((shared, shared * surface[IS_CHOICE]))


@pytest.fixture(scope="module")
def builtin() -> HashedNgrams:
    return HashedNgrams(CPU)


@pytest.fixture(scope="module")
def vector() -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal(BUILTIN_DIMENSION))


@settings(max_examples=30)
@given(texts=texts_of_any_kind)
def test_folded_product_is_what_the_definition_says(
    builtin: HashedNgrams, vector: Tensor, texts: list[str]
) -> None:
    fast = builtin.fold(vector)(bare_questions(texts)).numpy()
    slow = [slow_vector(text) @ vector.numpy() for text in texts]
    np.testing.assert_allclose(fast, slow, atol=1e-9)


@settings(max_examples=30)
@given(texts=texts_of_any_kind, data=st.data())
def test_neighbours_change_nothing(
    builtin: HashedNgrams, vector: Tensor, texts: list[str], data: st.DataObject
) -> None:
    product = builtin.fold(vector)
    order = data.draw(st.permutations(range(len(texts))))
    shuffled = product(bare_questions([texts[i] for i in order])).numpy()
    alone = [product(bare_questions([texts[i]])).item() for i in order]
    np.testing.assert_allclose(shuffled, alone, atol=1e-12)


def test_long_texts_are_scored_in_chunks_and_only_as_far_as_they_are_read(
    builtin: HashedNgrams, vector: Tensor
) -> None:
    product = builtin.fold(vector)
    long_text = "one two three " * (MOST_CHARS // 14 + 1)
    texts = ["short", long_text, long_text + "never read", "", long_text, "short"]
    scores = product(bare_questions(texts)).numpy()
    assert scores[0] == scores[5] == product(bare_questions(["short"])).item()
    assert scores[1] == scores[2] == scores[4]
    assert scores[1] == pytest.approx(
        product(bare_questions(["one two three " * 7_000])).item(), abs=1
    )  # nothing adds up


def test_multiple_choice_has_weights_of_its_own(builtin: HashedNgrams) -> None:
    own = torch.zeros(BUILTIN_DIMENSION, dtype=torch.float64)
    own[SHARED:] = 1.0
    free, choice = builtin.fold(own)(bare_questions(["Which? A. x B. y", "Which?\nA. x\nB. y"])).tolist()
    assert free == 0
    assert choice != 0


@pytest.mark.parametrize(
    ("text", "feature", "value"),
    [
        ("a fair bit of text", "log chars", math.log1p(18) - 5),
        ("abcd", "log chars", -2.5),
        ("12 34", "log numbers", math.log1p(2)),
        ("1234567890", "digit share", 3.0),
        ("Which?\nA. x\nB) y\nC. z", "log choices", math.log1p(3)),
        ("Which?\nA. x\nB) y\nC. z", "is choice", 1.0),
        ("A. is no line start", "is choice", 0.0),
        ("f():\n  x\n  y", "log indented lines", math.log1p(2)),
        ("a\nb", "log lines", math.log1p(1)),
        ("extraordinary and so on", "long word share", 1.0),
        ("what? why?", "log questions", math.log1p(2)),
        ("", "log words", math.log1p(1) - 3.5),
        ("Solve it in 3 steps.", "exact task", 1.0),
        ("Solve what?\nA. x\nB. y", "exact task", 0.0),
        ("Imagine a story.", "free task", 0.5),
    ],
)
def test_surface_features_see_what_they_are_named_after(text: str, feature: str, value: float) -> None:
    layout = lay_out(["a neighbour\nA. with marks 1", text, "B. another\n  one?"])
    features = surface_features(layout, find_words(fold_case(layout), layout))
    assert features[1, FEATURES.index(feature)] == pytest.approx(value)


@dataclass
class ByLength:
    """An embedder as a user would write one."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        return np.array([[len(text), 1.0] for text in texts], np.float32)


class Short(ByLength):
    def embed(self, texts: Sequence[str]) -> Vectors:
        return super().embed(texts)[1:]


class Broken(ByLength):
    def embed(self, texts: Sequence[str]) -> Vectors:
        return super().embed(texts) * np.float32("nan")


class Mute:
    pass


def named(cls: type) -> EmbedderSpec:
    return EmbedderSpec(use=f"{cls.__module__}:{cls.__name__}")


def test_a_custom_embedder_is_imported_and_multiplied() -> None:
    product = fold(named(ByLength), torch.tensor([2.0, 0.5]), CPU)
    assert product(bare_questions(["abc", ""])).tolist() == [6.5, 0.5]


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Short, r"Short: `embed` gave an array of shape \[1, 2\], not \[2, dim\]"),
        (Broken, "Broken: `embed` gave NaN"),
    ],
)
def test_a_custom_embedder_that_misbehaves_is_named(cls: type, message: str) -> None:
    product = fold(named(cls), torch.ones(2), CPU)
    with pytest.raises(ModelFault, match=message):
        product(bare_questions(["abc", ""]))


@pytest.mark.parametrize(
    ("use", "message"),
    [
        ("no_such_module_at_all:X", "cannot be imported"),
        (f"{__name__}:NotThere", "cannot be imported"),
        (f"{__name__}:Mute", "needs a method `embed`"),
    ],
)
def test_a_class_that_cannot_be_used_is_named(use: str, message: str) -> None:
    with pytest.raises(ModelFault, match=f"^{use}: .*{message}"):
        import_class(use, "embed")


PACKAGE = """
import torch

class SentenceTransformer:
    def __init__(self, name, device, truncate_dim):
        if name == "missing":
            raise OSError("no such model\\nand much more")
        self.dim = truncate_dim or 2

    def float(self):
        return self

    def eval(self):
        return self

    def encode(self, texts, batch_size, convert_to_tensor, show_progress_bar):
        assert convert_to_tensor and not show_progress_bar
        return torch.tensor([[len(text), 1.0, 5.0][: self.dim] for text in texts], dtype=torch.float16)
"""


@pytest.fixture
def sentence_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package, as far as it is used; the real one is large, and was tried by hand."""
    (tmp_path / "sentence_transformers.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sentence_transformers", raising=False)


@pytest.mark.usefixtures("sentence_transformers")
def test_a_sentence_transformers_model_is_multiplied() -> None:
    spec = EmbedderSpec(use="sentence-transformers", model="mine")
    assert fold(spec, torch.tensor([2.0, 0.5]), CPU)(bare_questions(["abc", "", "\ud83d"])).tolist() == [
        6.5,
        0.5,
        2.5,
    ]
    shorter = EmbedderSpec(use="sentence-transformers", model="mine", dimensions=1)
    assert fold(shorter, torch.tensor([2.0]), CPU)(bare_questions(["abc"])).tolist() == [6.0]
    with pytest.raises(ModelFault, match=r"^router.embedder.model: missing cannot be loaded: no such model$"):
        fold(EmbedderSpec(use="sentence-transformers", model="missing"), torch.ones(2), CPU)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ModelFault, match=r"pip install 'batchroute\[sentence-transformers\]'"):
        fold(EmbedderSpec(use="sentence-transformers", model="x"), torch.ones(2), CPU)


def test_a_model_directory_may_move_and_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    for name, weights in (("a", b"1" * 3_000_000), ("b", b"1" * 3_000_000), ("c", b"1" * 2_999_999 + b"2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(weights)
    a, b, c = (identity(EmbedderSpec(use="sentence-transformers", model=str(tmp_path / name))) for name in "abc")
    assert a == b != c
    with pytest.raises(ModelFault, match="no such model directory"):
        identity(EmbedderSpec(use="sentence-transformers", model=str(tmp_path / "d")))


def test_an_identity_names_model_and_dimensions() -> None:
    assert identity(EmbedderSpec(use="openai", model="m", dimensions=256)) == "openai:m:256"
    assert identity(EmbedderSpec(use="openai", model="m")) == "openai:m"
    assert identity(EmbedderSpec(use="sentence-transformers", model="all-MiniLM-L6-v2")).endswith(
        "all-MiniLM-L6-v2"
    )


def test_given_vectors_may_lie_in_read_only_memory() -> None:
    vectors = np.eye(3, dtype=np.float32)
    vectors.flags.writeable = False
    product = fold(EmbedderSpec(use="column", column="v"), torch.tensor([1.0, 2.0, 3.0]), CPU)
    assert product(bare_questions(["", "", ""], vectors)).tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("shape", [(2, 4), (2,)])
def test_vectors_of_another_dimension_are_refused(shape: tuple[int, ...]) -> None:
    product = DenseProduct(lambda _: np.ones(shape, np.float32), torch.ones(3))
    with pytest.raises(ModelFault, match=f"trained on vectors of 3 numbers, the embedder gave {shape[-1]};"):
        product(bare_questions(["", ""]))


@pytest.mark.parametrize(
    ("spec", "dimension", "message"),
    [
        (EmbedderSpec(), 1536, "reads vectors of 1536 numbers"),
        (EmbedderSpec(use="openai"), 384, "reads vectors of 384 numbers, `openai` makes 1536"),
        (EmbedderSpec(use="openai", dimensions=512), 1536, "`openai` makes 512"),
        (EmbedderSpec(use="openai", model="text-embedding-3-large"), 1536, "`openai` makes 3072"),
    ],
)
def test_an_embedder_that_will_not_do_is_refused(spec: EmbedderSpec, dimension: int, message: str) -> None:
    with pytest.raises(ModelFault, match=message):
        fold(spec, torch.ones(dimension), CPU)


def test_a_column_that_the_input_lacks_is_named() -> None:
    product = fold(EmbedderSpec(use="column", column="v"), torch.ones(3), CPU)
    with pytest.raises(ModelFault, match=r"\[router.embedder\] column"):
        product(bare_questions([""]))
