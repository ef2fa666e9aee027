"""Labels of any form -> the scores of a strong and a weak side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from batchroute.errors import InputFault, UsageFault
from batchroute.learn.labels.files import ROW, WINNERS, read_label_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchroute.learn.labels.files import LabelFile
    from batchroute.types import Floats, Vectors


@dataclass(frozen=True, slots=True)
class Labels:
    """n labelled prompts: `strong` and `weak` [n] are the sides' scores in [0, 1].

    `domains` [n] is the file's column of that name, or the file's stem; `vectors` [n, dim] where asked for.
    """

    prompts: list[str]
    domains: list[str]
    strong: Floats
    weak: Floats
    vectors: Vectors | None = None

    @property
    def gain(self) -> Floats:
        """[n] what the strong side is better by, in [-1, 1]; 0 is a tie."""
        return self.strong - self.weak


def read_labels(file: Path, strong: Sequence[str], weak: Sequence[str]) -> Labels:
    """What one file teaches about two sides, each of one or several models: distinct prompts, sorted.

    Several labels of one prompt count by their mean. Pairs name no models, so there `strong` and `weak` do
    not matter. InputFault when the file cannot be read, or holds nothing to learn from.
    """
    return merged_labels(read_label_file(file), strong, weak)


def merged_labels(labels: LabelFile, strong: Sequence[str], weak: Sequence[str]) -> Labels:
    """As `read_labels`, of a file that is read already."""
    means = (
        _sides(labels, strong, weak)
        .group_by("prompt")
        .agg(pl.col(ROW, "domain").min(), pl.col("strong", "weak").mean().round(9))
        .sort("prompt")
    )
    merged = _labels(means, labels.vectors)
    if not merged.gain.any():
        raise InputFault(f"{labels.file}: both sides are equally good on every prompt: there is nothing to learn")
    return merged


def side_labels(files: Sequence[LabelFile], strong: str, weak: str) -> Labels:
    """Every label of several files as an entry of its own, in their order; of outcomes a prompt's are one."""
    parts = [_labels(_sides(file, [strong], [weak]).sort(ROW), file.vectors) for file in files]
    vectors = [part.vectors for part in parts if part.vectors is not None]
    return Labels(
        prompts=[prompt for part in parts for prompt in part.prompts],
        domains=[domain for part in parts for domain in part.domains],
        strong=np.concatenate([part.strong for part in parts]),
        weak=np.concatenate([part.weak for part in parts]),
        vectors=np.concatenate(vectors) if vectors else None,
    )


def choose_sides(files: Sequence[LabelFile], strong: str | None, weak: str | None) -> tuple[str, str]:
    """The names of the two sides: those given, else the two models there are, the better one strong.

    Pairs name no models: there they are "strong" and "weak" unless given. UsageFault where it is not clear.
    """
    named = [file for file in files if file.form != "pairs"]
    if (strong is None) != (weak is None):
        raise UsageFault("name both models or neither: --strong NAME --weak NAME")
    if strong is not None and weak is not None:
        if strong == weak:
            raise UsageFault(f"--strong and --weak are both {strong!r}; name two models")
        return strong, weak
    if not named:
        return "strong", "weak"
    means = pl.concat([_model_scores(file) for file in named]).group_by("model").agg(pl.col("score").mean())
    models = means.sort("score", "model", descending=[True, False])["model"].to_list()
    if len(models) < 2:
        raise InputFault(f"{named[0].file}: labels of one model only ({models[0]}); routing takes two")
    if len(models) > 2:
        raise UsageFault(f"name two of the models: --strong NAME --weak NAME; the labels have {_some(models)}")
    return models[0], models[1]


def _model_scores(labels: LabelFile) -> pl.DataFrame:
    frame = labels.frame
    if labels.form == "outcomes":
        return frame.select("model", "score")
    won = _won()
    first = frame.select(pl.col("model_a").alias("model"), won.alias("score"))
    return pl.concat((first, frame.select(pl.col("model_b").alias("model"), (1 - won).alias("score"))))


def _sides(labels: LabelFile, strong: Sequence[str], weak: Sequence[str]) -> pl.DataFrame:
    """row, prompt, domain, strong, weak."""
    if labels.form == "pairs":
        return labels.frame
    rows = (
        _from_outcomes(labels, strong, weak) if labels.form == "outcomes" else _from_battles(labels, strong, weak)
    )
    if rows.is_empty():
        sides = f"{', '.join(strong)} and {', '.join(weak)}"
        raise InputFault(f"{labels.file}: no prompt has a label of both sides ({sides})")
    return rows


def _from_outcomes(labels: LabelFile, strong: Sequence[str], weak: Sequence[str]) -> pl.DataFrame:
    frame = labels.frame
    _check_models(labels.file, frame["model"], strong, weak)
    side = pl.col("model").is_in(list(strong))
    return (
        frame.filter(side | pl.col("model").is_in(list(weak)))
        .group_by("prompt", "domain")
        .agg(
            pl.col(ROW).min(),
            strong=pl.col("score").filter(side).mean(),
            weak=pl.col("score").filter(~side).mean(),
        )
        .drop_nulls(("strong", "weak"))
    )


def _from_battles(labels: LabelFile, strong: Sequence[str], weak: Sequence[str]) -> pl.DataFrame:
    frame = labels.frame
    _check_models(labels.file, pl.concat((frame["model_a"], frame["model_b"])), strong, weak)
    first = pl.col("model_a").is_in(list(strong)) & pl.col("model_b").is_in(list(weak))
    second = pl.col("model_b").is_in(list(strong)) & pl.col("model_a").is_in(list(weak))
    return (
        frame.filter(first | second)
        .with_columns(strong=pl.when(first).then(_won()).otherwise(1 - _won()))
        .with_columns(weak=1 - pl.col("strong"))
    )


def _won() -> pl.Expr:
    return pl.col("winner").replace_strict(WINNERS, return_dtype=pl.Float64)


def _check_models(file: Path, models: pl.Series, strong: Sequence[str], weak: Sequence[str]) -> None:
    known = set(models.unique().to_list())
    for side, names in (("strong", strong), ("weak", weak)):
        if not known.intersection(names):
            some = _some(sorted(known))
            raise InputFault(f"{file}: no labels of the {side} side ({', '.join(names)}); the file has {some}")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def _labels(rows: pl.DataFrame, vectors: Vectors | None) -> Labels:
    return Labels(
        prompts=rows["prompt"].to_list(),
        domains=rows["domain"].to_list(),
        strong=rows["strong"].to_numpy(),
        weak=rows["weak"].to_numpy(),
        vectors=None if vectors is None else vectors[rows[ROW].to_numpy()],
    )
