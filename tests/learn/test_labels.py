"""Label files of every form and kind: what they come to, and what is refused on the way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchroute.errors import BatchrouteError, InputFault, UsageFault
from batchroute.learn.labels.comparisons import OPPONENTS, between_all, between_sides
from batchroute.learn.labels.files import read_label_file
from batchroute.learn.labels.sides import choose_sides, read_labels, side_labels
from labelled import DIMENSION, EASY, HARD, battles, outcomes, pairs, save, vectors, with_vectors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
@pytest.mark.parametrize("make", [outcomes, battles, pairs])
def test_every_form_in_every_kind_of_file_says_the_same(
    tmp_path: Path, make: Callable[[], pl.DataFrame], suffix: str
) -> None:
    labels = read_labels(save(make(), tmp_path / f"labels{suffix}"), ["big"], ["small"])
    assert labels.prompts == sorted(EASY + HARD)
    assert labels.domains == ["labels"] * len(labels.prompts)
    gains = dict(zip(labels.prompts, labels.gain.tolist(), strict=True))
    assert {gains[prompt] for prompt in EASY} == {0.0}
    assert min(gains[prompt] for prompt in HARD) >= 0.8


def test_several_labels_of_a_prompt_count_by_their_mean_in_training_and_each_in_an_evaluation(
    tmp_path: Path,
) -> None:
    rows = [("q", "big", "small", "model_a"), ("p", "small", "big", "tie"), ("q", "big", "small", "model_b")]
    frame = pl.DataFrame([*rows, ("q", "big", "small", "tie")], schema=battles().columns, orient="row")
    frame = pl.concat(
        [frame, pl.DataFrame([("r", "big", "small", "model_a")], schema=frame.columns, orient="row")]
    )
    file = save(frame, tmp_path / "labels.jsonl")
    merged = read_labels(file, ["big"], ["small"])
    assert (merged.prompts, merged.gain.tolist()) == (["p", "q", "r"], [0.0, 0.0, 1.0])
    each = side_labels([read_label_file(file), read_label_file(file)], "big", "small")
    assert each.prompts == ["q", "p", "q", "q", "r"] * 2
    assert each.gain.tolist() == [1.0, 0.0, -1.0, 0.0, 1.0] * 2


def test_json_lines_may_drift_and_come_late(tmp_path: Path) -> None:
    lines = [{"prompt": f"p{n}", "strong": n % 2, "weak": False, "note": n} for n in range(150)]
    lines.append({"prompt": "half \ud83d", "strong": True, "weak": 0.5, "domain": "late", "note": ["a list"]})
    file = tmp_path / "labels.jsonl"
    file.write_text("\n\n".join(json.dumps(line) for line in lines))
    labels = side_labels([read_label_file(file)], "strong", "weak")
    assert len(labels.prompts) == 151
    assert labels.prompts[-1] == "half \N{REPLACEMENT CHARACTER}"
    assert (labels.strong[-1], labels.weak[-1], labels.domains[-1]) == (1.0, 0.5, "late")


def test_a_csv_of_digits_and_truth_values_keeps_its_prompts_as_text(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("prompt,strong,weak,domain\n007,true,False,1\n8,1,0.5,2\n")
    labels = side_labels([read_label_file(file)], "strong", "weak")
    assert (labels.prompts, labels.domains) == (["007", "8"], ["1", "2"])
    assert labels.gain.tolist() == [1.0, 0.5]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
@pytest.mark.parametrize("make", [outcomes, battles, pairs])
def test_vectors_stay_with_their_prompts(tmp_path: Path, make: Callable[[], pl.DataFrame], suffix: str) -> None:
    frame = with_vectors(make()).sample(fraction=1, shuffle=True, seed=1)
    labels = read_label_file(save(frame, tmp_path / f"labels{suffix}"), "v")
    expected = dict(zip(sorted(EASY + HARD), vectors(sorted(EASY + HARD)), strict=True))
    files = [labels, labels]
    for found in (
        side_labels([labels], "big", "small"),
        between_sides(files, "big", "small"),
        between_all(files, "big", "small", 0),
    ):
        assert found.vectors is not None
        assert found.vectors.shape == (len(found.prompts), DIMENSION)
        np.testing.assert_array_equal(found.vectors, np.stack([expected[prompt] for prompt in found.prompts]))


def test_fixed_size_vectors_are_read_too(tmp_path: Path) -> None:
    frame = with_vectors(pairs()).with_columns(pl.col("v").list.to_array(DIMENSION))
    found = read_label_file(save(frame, tmp_path / "labels.parquet"), "v").vectors
    np.testing.assert_array_equal(found, np.array(with_vectors(pairs())["v"].to_list(), np.float32))


def replaced(frame: pl.DataFrame, column: str, value: object) -> pl.DataFrame:
    return frame.with_columns(pl.Series(column, [*frame[column].to_list()[:-1], value], strict=False))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (
            replaced(battles(), "winner", "model_c"),
            "row 99: winner is 'model_c', not one of model_a, tie, model_b",
        ),
        (replaced(battles(), "winner", None), "row 99: winner is 'null'"),
        (replaced(battles(), "model_a", None), "row 99: a model_a is missing"),
        (replaced(outcomes(), "score", float("nan")), "row 199: a score is missing, NaN or not in"),
        (replaced(outcomes(), "score", 1.5), "a score is missing, NaN or not in"),
        (replaced(pairs(), "weak", None), "a score is missing, NaN or not in"),
        (replaced(pairs(), "prompt", None), "a prompt is missing or is no text"),
        (pairs().with_columns(prompt=pl.lit(7)), "a prompt is missing or is no text"),
        (pairs().head(0), "holds no labels"),
        (outcomes().rename({"score": "points"}), "need one of these sets of columns: prompt, model, score;"),
        (pairs(), "has no column 'v' of vectors; its columns are prompt, strong, weak"),
        (pairs().with_columns(v=pl.lit("text")), "'v' holds no vectors"),
        (replaced(with_vectors(pairs()), "v", None), "row 99: its vector in 'v' is missing or of another length"),
        (replaced(with_vectors(pairs()), "v", [1.0]), "row 99: its vector in 'v' is missing or of another length"),
        (replaced(with_vectors(pairs()), "v", [float("nan")] * DIMENSION), "NaN or infinite"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, frame: pl.DataFrame, message: str) -> None:
    file = save(frame, tmp_path / "labels.parquet")
    with pytest.raises(InputFault, match=f"^{file}: .*{message}"):
        read_label_file(file, "v" if "v" in message or "NaN or inf" in message else None)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels.txt", b"prompt", "labels are read from .parquet, .jsonl, .ndjson, .csv"),
        ("none.csv", None, "cannot be read"),
        ("empty.parquet", b"", "cannot be read"),
        ("empty.csv", b"", "cannot be read"),
        ("empty.jsonl", b"", "need one of these sets of columns"),
        ("head.csv", b"prompt,strong,weak\n", "holds no labels"),
        ("torn.jsonl", b'{"prompt": "a", "strong": 1, "weak": 0}\n{"prom', "line 2: not JSON"),
        ("list.jsonl", b"\n[1]", "line 2: not a JSON object"),
        ("nan.jsonl", b'{"prompt": "a", "strong": NaN, "weak": 0}', "row 0: a score is missing, NaN"),
        ("text.csv", b"prompt,strong,weak\na,much,0\n", "row 0: a score is missing, NaN"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputFault, match=f"{name}: .*{message}"):
        read_label_file(tmp_path / name)


def test_the_two_models_there_are_need_not_be_named(tmp_path: Path) -> None:
    def sides(frame: pl.DataFrame, strong: str | None = None, weak: str | None = None) -> tuple[str, str]:
        return choose_sides([read_label_file(save(frame, tmp_path / "labels.csv"))], strong, weak)

    assert sides(outcomes()) == sides(battles()) == ("big", "small")
    assert sides(pairs()) == ("strong", "weak")
    assert sides(outcomes(), "small", "big") == ("small", "big")
    for frame, strong, weak, message in (
        (outcomes(1), None, None, "name two of the models: --strong NAME --weak NAME; the labels have big"),
        (outcomes(), "big", None, "both models or neither"),
        (outcomes(), "big", "big", "name two models"),
        (outcomes().filter(pl.col("model") == "big"), None, None, r"labels of one model only \(big\)"),
    ):
        with pytest.raises(BatchrouteError, match=message) as fault:
            sides(frame, strong, weak)
        assert isinstance(fault.value, UsageFault)


def test_sides_that_never_answered_the_same_prompt_are_refused(tmp_path: Path) -> None:
    frame = pl.DataFrame([("a", "big", 1.0), ("b", "small", 1.0)], schema=outcomes().columns, orient="row")
    with pytest.raises(InputFault, match=r"no prompt has a label of both sides \(big and small\)"):
        read_labels(save(frame, tmp_path / "labels.csv"), ["big"], ["small"])


@given(st.lists(st.integers(0, 12), min_size=1, max_size=6), st.integers(0, 5), st.randoms(use_true_random=False))
def test_of_a_prompts_outcomes_no_two_models_meet_twice_whatever_the_order(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], seed: int, random: object
) -> None:
    rows = [(f"p{place}", f"m{n}", (n % 3) / 2) for place, size in enumerate(sizes) for n in range(size)]
    rows += [("both", "m0", 1.0), ("both", "m1", 0.0)]
    folder = tmp_path_factory.mktemp("labels")

    def compared(name: str, rows: list[tuple[str, str, float]]) -> list[tuple[object, ...]]:
        frame = pl.DataFrame(rows, schema=["prompt", "model", "score"], orient="row")
        found = between_all([read_label_file(save(frame, folder / name))], "", "", seed)
        names = np.array(found.models)
        return list(
            zip(
                np.array(found.prompts)[found.prompt].tolist(),
                names[found.first].tolist(),
                names[found.second].tolist(),
                found.target.tolist(),
                strict=True,
            )
        )

    straight = compared("a.parquet", rows)
    assert compared("b.parquet", random.sample(rows, len(rows))) == straight  # type: ignore[attr-defined]  # a Random
    meetings = [(prompt, *sorted((str(first), str(second)))) for prompt, first, second, _ in straight]
    assert len(set(meetings)) == len(meetings)
    for place, size in enumerate(sizes):
        met = [meeting for meeting in meetings if meeting[0] == f"p{place}"]
        assert len(met) == min(size * (size - 1) // 2, OPPONENTS * size)


def test_comparisons_keep_ties_and_turn_with_the_models(tmp_path: Path) -> None:
    found = between_all([read_label_file(save(battles(), tmp_path / "labels.csv"))], "", "", 0)
    assert found.models == ("big", "small")
    assert np.bincount((2 * found.target).astype(int)).tolist() == [20, 60, 20]
    big_wins = np.where(found.first == 0, found.target, 1 - found.target)
    assert sorted(set(big_wins.tolist())) == [0.5, 1.0]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (outcomes().filter(pl.col("model") == "big"), "labels of one model only"),
        (battles().with_columns(winner=pl.lit("tie")), "every comparison is a tie"),
        (battles().with_columns(model_b=pl.col("model_a")), "labels of one model only"),
    ],
)
def test_comparisons_that_teach_nothing_are_refused(tmp_path: Path, frame: pl.DataFrame, message: str) -> None:
    file = save(frame, tmp_path / "labels.parquet")
    with pytest.raises(InputFault, match=f"^{file}: {message}"):
        between_all([read_label_file(file)], "", "", 0)
