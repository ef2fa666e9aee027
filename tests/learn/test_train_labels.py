"""`train` on labels: every form, embedder and kind of model; the split; the card; what is refused."""

from __future__ import annotations

import json
from io import StringIO
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from safetensors.torch import load_file

from batchroute.errors import InputFault, ModelFault, UsageFault
from batchroute.job.spec import EmbedderSpec, RouterSpec
from batchroute.learn.labels.sides import read_labels
from batchroute.learn.train.build import train_model
from batchroute.learn.train.fit import Epoch, split_prompts
from batchroute.quality.curves import apgr
from batchroute.score.embed.embedders import BUILTIN_DIMENSION
from batchroute.score.rater import bare_questions
from batchroute.score.router import load_scorer
from batchroute.show.training import epochs_shown
from command import assert_one_message
from labelled import DIMENSION, EASY, HARD, battles, outcomes, pairs, save, vectors, with_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from batchroute.learn.train.build import Trained
    from batchroute.types import Floats, Vectors
    from command import Said

    Command = Callable[..., Said]

COLUMN = EmbedderSpec(use="column", column="v")
NEW_EASY = [f"Say hello to {name}." for name in ("Pia", "Quinn", "Rex")]
NEW_HARD = [f"Prove the theorem of {name} in full." for name in ("Fermat", "Goedel", "Turing")]


class Fullness:
    """An embedder as a user would write one: does a prompt ask for all of it, how long is it, one."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        return np.array([["full" in text, len(text) / 50, 1.0] for text in texts], np.float32)


OWN = EmbedderSpec(use=f"{Fullness.__module__}:Fullness")


def score_with(
    trained: Trained, prompts: list[str], embedder: EmbedderSpec, given: Vectors | None = None
) -> Floats:
    questions = bare_questions(prompts, given)
    spec = RouterSpec(
        model=str(trained.output),
        strong="big",
        weak="small",
        device="cpu",
        embedder=embedder,
    )
    return load_scorer(spec).score(questions)


@pytest.mark.parametrize(
    ("make", "embedder"),
    [(outcomes, COLUMN), (battles, COLUMN), (pairs, COLUMN), (pairs, EmbedderSpec()), (battles, OWN)],
    ids=["outcomes-column", "battles-column", "pairs-column", "pairs-builtin", "battles-own"],
)
def test_a_model_learns_from_every_form_on_every_embedder(
    tmp_path: Path, make: Callable[[], pl.DataFrame], embedder: EmbedderSpec
) -> None:
    file = save(with_vectors(make()), tmp_path / "labels.parquet")
    spec = RouterSpec(device="cpu", embedder=embedder)
    trained = train_model([file], tmp_path / "model", strong="big", weak="small", router=spec)
    assert (trained.models, trained.prompts) == (("big", "small"), len(EASY + HARD))
    given = np.concatenate((vectors(EASY), vectors(HARD))) if embedder is COLUMN else None
    scores = score_with(trained, EASY + HARD, embedder, given)
    gain = np.array([0.0] * len(EASY) + [1.0] * len(HARD))
    assert apgr(scores, gain, np.zeros(len(gain))) > 0.75
    assert trained.held_out.apgr is None or trained.held_out.apgr > 0.5
    if given is None:
        new = score_with(trained, NEW_EASY + NEW_HARD, embedder)
        assert new[:3].max() < new[3:].min()


def test_without_names_the_table_has_a_row_for_every_model(tmp_path: Path) -> None:
    file = save(with_vectors(outcomes(others=3)), tmp_path / "labels.parquet")
    trained = train_model([file], tmp_path / "model", router=RouterSpec(embedder=COLUMN, device="cpu"))
    assert trained.models == ("big", "other-0", "other-1", "other-2", "small")
    assert trained.comparisons > 5 * trained.prompts
    weights = load_file(tmp_path / "model" / "model.safetensors")
    assert {name: list(tensor.shape) for name, tensor in weights.items()} == {
        "P.weight": [5, 128],
        "text_proj.0.weight": [128, DIMENSION],
        "classifier.0.weight": [1, 128],
    }
    given = vectors(EASY + HARD)
    scores = score_with(trained, EASY + HARD, COLUMN, given)
    assert scores[: len(EASY)].mean() + 0.1 < scores[len(EASY) :].mean()
    assert trained.held_out.loss < 0.68  # a coin's is 0.693
    assert trained.held_out.apgr is None


def test_several_files_of_several_forms_are_one_set_of_labels(tmp_path: Path) -> None:
    files = [
        save(outcomes(others=1), tmp_path / "outcomes.jsonl"),
        save(battles(), tmp_path / "battles.csv"),
        save(pairs(), tmp_path / "pairs.parquet"),
    ]
    trained = train_model(files, tmp_path / "model", licence="MIT", seed=4)
    assert trained.models == ("big", "other-0", "small", "strong", "weak")
    card = json.loads((tmp_path / "model" / "batchroute.json").read_text())
    assert card["models"] == list(trained.models)
    assert card["router"] == "mf"
    assert card["embedder"] == {"identity": "hashed-ngrams-2", "dimension": BUILTIN_DIMENSION}
    assert (card["licence"], card["seed"]) == ("MIT", 4)
    assert card["data"] == "outcomes.jsonl (300 outcomes), battles.csv (100 battles), pairs.parquet (100 pairs)"
    assert card["evaluation"]["held_out"]["prompts"] == 10
    assert card["evaluation"]["prompts"] == 100


@pytest.mark.parametrize(
    ("embedder", "make"),
    [(COLUMN, outcomes), (COLUMN, battles), (EmbedderSpec(), pairs)],
    ids=["outcomes-column", "battles-column", "pairs-builtin"],
)
def test_the_same_labels_and_seed_give_the_same_model_in_any_order(
    tmp_path: Path, embedder: EmbedderSpec, make: Callable[[], pl.DataFrame]
) -> None:
    spec = RouterSpec(embedder=embedder, device="cpu")
    frame = with_vectors(make())
    shuffled = frame.sample(fraction=1, shuffle=True, seed=2)
    weights = []
    for number, (labels, seed) in enumerate(((frame, 1), (shuffled, 1), (frame, 2))):
        file = save(labels, tmp_path / f"{number}.parquet")
        train_model([file], tmp_path / str(number), router=spec, seed=seed)
        weights.append((tmp_path / str(number) / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_held_out_figures_are_those_of_prompts_the_model_never_saw(tmp_path: Path) -> None:
    file = save(outcomes(), tmp_path / "labels.parquet")
    trained = train_model([file], tmp_path / "model", strong="big", weak="small", seed=3)
    labels = read_labels(file, ["big"], ["small"])
    held_out = split_prompts(labels.prompts, 3).held_out
    scores = score_with(trained, [labels.prompts[place] for place in held_out], EmbedderSpec())
    expected = apgr(scores, labels.strong[held_out], labels.weak[held_out])
    assert trained.held_out.apgr == pytest.approx(expected, abs=1e-3)
    assert trained.held_out.prompts == len(held_out) == 10


@given(st.lists(st.text(max_size=12), min_size=10, max_size=60, unique=True), st.integers(0, 9), st.data())
def test_no_prompt_stands_on_two_sides_whatever_the_order(
    prompts: list[str], seed: int, data: st.DataObject
) -> None:
    split = split_prompts(prompts, seed)
    parts = (split.learn, split.validation, split.held_out)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(prompts)))
    assert len(split.validation) == len(split.held_out) == round(len(prompts) / 10)
    order = data.draw(st.permutations(range(len(prompts))))
    shuffled = split_prompts([prompts[place] for place in order], seed)
    for part, again in zip(parts, (shuffled.learn, shuffled.validation, shuffled.held_out), strict=True):
        assert {prompts[place] for place in part} == {prompts[order[place]] for place in again}


def test_too_few_prompts_are_refused(tmp_path: Path) -> None:
    file = save(pairs().tail(9), tmp_path / "labels.csv")
    with pytest.raises(InputFault, match="9 labelled prompts are too few"):
        train_model([file], tmp_path / "model")


def last(frame: pl.DataFrame, column: str, value: object) -> pl.DataFrame:
    return frame.with_columns(pl.Series(column, [*frame[column].to_list()[:-1], value], strict=False))


@pytest.mark.parametrize(
    ("frame", "flags", "message"),
    [
        (last(battles(), "winner", "both"), (), "row 99: winner is 'both'"),
        (last(outcomes(), "score", float("nan")), (), "row 199: a score is missing, NaN"),
        (outcomes().filter(pl.col("model") == "big"), (), "labels of one model only (big)"),
        (
            outcomes().filter(pl.col("model") == "big"),
            ("--strong", "big", "--weak", "small"),
            "no labels of the weak",
        ),
        (battles().with_columns(winner=pl.lit("tie")), (), "nothing to learn"),
        (outcomes().rename({"score": "points"}), (), "need one of these sets of columns"),
        (pairs().head(0), (), "holds no labels"),
        (
            pairs(),
            ("--set", "router.embedder.use=column", "--set", "router.embedder.column=v"),
            "has no column 'v' of vectors",
        ),
        (outcomes(), ("--strong", "big"), "name both models or neither"),
        (pairs(), ("--set", 'router.use="length"'), "'length' has nothing to learn; only mf has"),
        (pairs(), ("--set", 'router.use="mlp"'), "'mlp' has nothing to learn; only mf has"),
        (pairs(), ("--device", "tpu"), "router.device: must be"),
        (pairs(), ("--set", "limits.drain_s=1"), "only [router] can be set here"),
    ],
)
def test_what_cannot_be_trained_is_one_message(
    tmp_path: Path, batchroute: Command, frame: pl.DataFrame, flags: tuple[str, ...], message: str
) -> None:
    file = save(frame, tmp_path / "labels.parquet")
    assert_one_message(batchroute("train", file, "-o", tmp_path / "model", *flags), 2, message)
    assert not (tmp_path / "model").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_absent_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelFault, match="torch sees 0 GPUs"):
        train_model([save(pairs(), tmp_path / "labels.csv")], tmp_path / "model", router=RouterSpec(device="cuda"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("embedder", [EmbedderSpec(), COLUMN], ids=["builtin", "column"])
def test_a_model_trained_on_a_gpu_scores_the_same_on_both(tmp_path: Path, embedder: EmbedderSpec) -> None:
    file = save(with_vectors(outcomes(others=1)), tmp_path / "labels.parquet")
    spec = RouterSpec(embedder=embedder, device="cuda")
    trained = train_model([file], tmp_path / "model", router=spec)
    questions = bare_questions(EASY + HARD, vectors(EASY + HARD))
    model = {"model": str(trained.output), "strong": "big", "weak": "small", "embedder": embedder}
    on_gpu, on_cpu = (
        load_scorer(RouterSpec(**model, device=device)).score(questions) for device in ("cuda", "cpu")
    )
    np.testing.assert_allclose(on_gpu, on_cpu, atol=1e-5)


def test_the_command_says_what_it_made_and_how_a_job_names_it(tmp_path: Path, batchroute: Command) -> None:
    file = save(outcomes(), tmp_path / "labels.parquet")
    use = f'router.embedder.use="{OWN.use}"'
    said = batchroute("train", file, "-o", tmp_path / "model", "--set", use)
    assert said.code == 0
    assert f"{tmp_path / 'model'}: mf on 100 prompts, best after" in said.out
    assert "on 10 held-out prompts of the same kind: loss " in said.out
    assert f'[router] use = "mf", model = "{tmp_path / "model"}", strong = "big", weak = "small"' in said.out
    assert "epoch 1 of at most 100, loss " in said.err
    flags = ("--model", tmp_path / "model", "--set", use, "--json")
    assert json.loads(batchroute("evaluate", file, *flags).out)["routers"]["model"]["apgr"] > 0.75


def test_vectors_of_a_column_are_what_a_model_reads(tmp_path: Path, batchroute: Command) -> None:
    file = save(with_vectors(outcomes()), tmp_path / "labels.parquet")
    column = ("--set", 'router.embedder.use="column"', "--set", 'router.embedder.column="v"')
    trained = batchroute("train", file, "-o", tmp_path / "dense", "--strong", "big", "--weak", "small", *column)
    assert trained.code == 0
    flags = ("--model", tmp_path / "dense", "--router", "mf", *column, "--json")
    routers = json.loads(batchroute("evaluate", file, *flags).out)["routers"]
    assert list(routers)[:2] == ["mf", "dense"]
    assert routers["dense"]["apgr"] > 0.75


def test_a_terminal_gets_a_bar(tmp_path: Path) -> None:
    terminal = Console(file=StringIO(), force_terminal=True, width=100)
    with epochs_shown(terminal) as on_epoch:
        on_epoch(Epoch(3, 100, 0.6, 0.5))
    assert isinstance(terminal.file, StringIO)
    assert "epoch 3 of at most 100, loss 0.6000, on validation prompts 0.5000" in terminal.file.getvalue()


def test_a_router_that_learns_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="'random' has nothing to learn"):
        train_model([], tmp_path / "model", router=RouterSpec(use="random"))
