"""Model files: every form of RouteLLM's is read, ours make the round trip, and what is wrong with one is said."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from batchroute.errors import ModelFault
from batchroute.score.checkpoint import (
    CARD,
    CONFIG,
    ROUTELLM_MODELS,
    WEIGHTS,
    Card,
    read_checkpoint,
    write_checkpoint,
)
from steps import hit_at_every_step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torch import Tensor

DIM, TEXT_DIM = 4, 6
Weights = dict[str, torch.Tensor]


def weights_of(models: int, *, published: bool = True) -> Weights:
    generator = torch.Generator().manual_seed(models)
    dot = ".0" if published else ""
    weights = {
        "P.weight": torch.randn(models, DIM, generator=generator),
        f"text_proj{dot}.weight": torch.randn(DIM, TEXT_DIM, generator=generator),
        f"classifier{dot}.weight": torch.randn(1, DIM, generator=generator),
    }
    return weights if published else weights | {"Q.weight": torch.randn(9, TEXT_DIM, generator=generator)}


def config_of(models: int) -> str:
    config = {"dim": DIM, "num_models": models, "text_dim": TEXT_DIM, "num_classes": 1, "use_proj": True}
    return json.dumps(config)


def as_directory(path: Path, weights: Weights) -> Path:
    path.mkdir()
    save_file(weights, path / "model.safetensors")
    (path / "config.json").write_text(config_of(64))
    return path


def as_pickled_directory(path: Path, weights: Weights) -> Path:
    path.mkdir()
    torch.save(weights, path / "pytorch_model.bin")
    return path


def as_safetensors(path: Path, weights: Weights) -> Path:
    save_file(weights, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


def as_pt(path: Path, weights: Weights) -> Path:
    torch.save(weights, path.with_suffix(".pt"))
    return path.with_suffix(".pt")


def win_rate_logit(weights: Weights, embedding: Tensor, strong: int, weak: int) -> float:
    """One prompt as RouteLLM's forward does it: normalise the rows, project, difference, product, classifier."""
    published = "text_proj.0.weight" in weights
    project = weights["text_proj.0.weight" if published else "text_proj.weight"]
    classifier = weights["classifier.0.weight" if published else "classifier.weight"]
    rows = weights["P.weight"] / weights["P.weight"].norm(dim=1, keepdim=True)
    return float(classifier @ ((rows[strong] - rows[weak]) * (project @ embedding)))


@pytest.mark.parametrize("published", [True, False])
@pytest.mark.parametrize("save", [as_directory, as_pickled_directory, as_safetensors, as_pt])
def test_each_form_of_routellm_scores_as_its_forward(
    tmp_path: Path, save: Callable[[Path, Weights], Path], published: bool
) -> None:
    weights = weights_of(64, published=published)
    model = read_checkpoint(save(tmp_path / "model", weights))
    for embedding in torch.randn(5, TEXT_DIM):
        for strong, weak in ((24, 36), (5, 63), (0, 1)):
            folded = model.folded(ROUTELLM_MODELS[strong], ROUTELLM_MODELS[weak])
            expected = win_rate_logit(weights, embedding, strong, weak)
            assert float(folded @ embedding.double().numpy()) == pytest.approx(expected, abs=1e-5)


def test_the_default_names_stand_where_routellm_has_them() -> None:
    assert len(set(ROUTELLM_MODELS)) == 64
    places = {0: "RWKV-4-Raven-14B", 5: "claude-1", 24: "gpt-4-1106-preview", 36: "mixtral-8x7b-instruct-v0.1"}
    assert {i: ROUTELLM_MODELS[i] for i in places} == places
    assert ROUTELLM_MODELS[63] == "zephyr-7b-beta"


def card(*models: str, embedder: str = "some-embedder") -> Card:
    return Card(models, embedder, TEXT_DIM, data="made up", licence="none", seed=7, evaluation={"apgr": 0.5})


def test_a_written_model_comes_back(tmp_path: Path) -> None:
    weights = weights_of(3)
    write_checkpoint(tmp_path / "new" / "model", weights, card("a", "b", "c"))
    model = read_checkpoint(tmp_path / "new" / "model")
    assert model.names == ("a", "b", "c")
    assert model.embedder == "some-embedder"
    np.testing.assert_array_equal(model.models, weights["P.weight"].double().numpy())
    np.testing.assert_array_equal(model.classifier, weights["classifier.0.weight"][0].double().numpy())


OLD, NEW = weights_of(3), {name: -tensor for name, tensor in weights_of(3).items()}


def a_model_replaced(directory: Path) -> Iterator[None]:
    write_checkpoint(directory / "model", OLD, card("a", "b", "c"))
    yield
    write_checkpoint(directory / "model", NEW, card("d", "e", "f"))


@pytest.mark.parametrize("mishap", ["kill", "full"])
def test_whatever_step_a_model_is_replaced_at_its_files_belong_together(tmp_path: Path, mishap: Any) -> None:
    found = Counter[str]()
    for hit in hit_at_every_step("test_checkpoint:a_model_replaced", mishap, tmp_path):
        try:
            model = read_checkpoint(hit.directory / "model")
        except ModelFault:
            found["none"] += 1
            continue
        is_old = np.array_equal(model.models, OLD["P.weight"].double().numpy())
        assert model.names == (("a", "b", "c") if is_old else ("d", "e", "f")), hit
        found["old" if is_old else "new"] += 1
        write_checkpoint(hit.directory / "model", NEW, card("d", "e", "f"))
        assert sorted(path.name for path in (hit.directory / "model").iterdir()) == sorted([CARD, CONFIG, WEIGHTS])
    assert found["old"] > 3
    assert found["new"] >= 1


def test_the_digest_names_the_weights_and_not_where_they_lie(tmp_path: Path) -> None:
    first = read_checkpoint(as_safetensors(tmp_path / "first", weights_of(64)))
    again = read_checkpoint(as_pickled_directory(tmp_path / "again", weights_of(64)))
    changed = weights_of(64)
    changed["P.weight"][3, 1] += 1e-3
    other = read_checkpoint(as_safetensors(tmp_path / "other", changed))
    assert first.digest == again.digest != other.digest


def without(key: str) -> Weights:
    return {name: tensor for name, tensor in weights_of(64).items() if name != key}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (without("P.weight"), "lack P.weight"),
        (without("text_proj.0.weight"), r"lack text_proj.0.weight \(or text_proj.weight\)"),
        (without("classifier.0.weight"), r"lack classifier.0.weight \(or classifier.weight\)"),
        (weights_of(64) | {"classifier.0.weight": torch.ones(2, DIM)}, r"classifier has shape \[2, 4\]"),
        (weights_of(64) | {"text_proj.0.weight": torch.ones(5, 6)}, r"text_proj has shape \[5, 6\]"),
        (weights_of(64) | {"P.weight": torch.ones(64)}, "must be matrices"),
        (weights_of(64) | {"P.weight": torch.full((64, DIM), torch.nan)}, "P.weight holds NaN"),
        (weights_of(63), "a table of 63 models needs their names"),
    ],
)
def test_what_is_wrong_with_the_weights_is_said(tmp_path: Path, weights: Weights, message: str) -> None:
    file = as_safetensors(tmp_path / "model", weights)
    with pytest.raises(ModelFault, match=f"^{file}: .*{message}"):
        read_checkpoint(file)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.json", config_of(63), "says num_models = 63, but the weights have 64"),
        ("config.json", "{", "config.json: not JSON"),
        ("config.json", "[]", "config.json: must hold a JSON object"),
        ("batchroute.json", '{"format": 2}', "has format 2; this version reads format 1"),
        ("batchroute.json", '{"models": ["a"]}', "must name 64 models"),
        ("batchroute.json", '{"router": "mlp"}', "names the router 'mlp'; only models of mf can be read"),
        ("batchroute.json", '{"embedder": {"dimension": 5}}', "another embedder dimension than the 6"),
    ],
)
def test_what_is_wrong_beside_the_weights_is_said(tmp_path: Path, name: str, text: str, message: str) -> None:
    directory = as_directory(tmp_path / "model", weights_of(64))
    (directory / name).write_text(text)
    with pytest.raises(ModelFault, match=message):
        read_checkpoint(directory)


def test_a_model_that_is_not_there_or_empty_or_torn(tmp_path: Path) -> None:
    with pytest.raises(ModelFault, match="no such model"):
        read_checkpoint(tmp_path / "nowhere")
    with pytest.raises(ModelFault, match=r"neither model.safetensors nor pytorch_model.bin"):
        read_checkpoint(tmp_path)
    for name in ("torn.safetensors", "torn.pt"):
        (tmp_path / name).write_bytes(b"\x80\x02torn")
        with pytest.raises(ModelFault, match=f"{name}: the weights cannot be read"):
            read_checkpoint(tmp_path / name)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return print, ("this must never be printed",)

    torch.save(weights_of(64) | {"P.weight": Payload()}, tmp_path / "evil.pt")
    with pytest.raises(ModelFault, match="cannot be read"):
        read_checkpoint(tmp_path / "evil.pt")


def test_a_model_that_the_table_lacks_is_named(tmp_path: Path) -> None:
    model = read_checkpoint(as_safetensors(tmp_path / "model", weights_of(64)))
    with pytest.raises(ModelFault, match="no model named 'gpt-5' in its table; it has RWKV-4-Raven-14B"):
        model.folded("gpt-5", "claude-1")
