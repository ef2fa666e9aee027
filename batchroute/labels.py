"""Label files -> how well the strong and the weak side answered each prompt.

Knows the three forms of labels (outcomes, battles, pairs) and what can be wrong with them; nothing of features or
models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from batchroute.errors import InputFault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from batchroute.types import Floats

OUTCOMES = ("prompt", "model", "score")
BATTLES = ("prompt", "model_a", "model_b", "winner")
PAIRS = ("prompt", "strong", "weak")
WINNERS = {"model_a": 1.0, "tie": 0.5, "model_b": 0.0}
READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".parquet": pl.read_parquet,
    ".jsonl": pl.read_ndjson,
    ".ndjson": pl.read_ndjson,
    ".csv": pl.read_csv,
}


@dataclass(frozen=True, slots=True)
class Labels:
    """n distinct prompts of one file, sorted: `strong` and `weak` [n] are the sides' mean scores in [0, 1].

    `domains` [n] is the file's column of that name, or the file's stem.
    """

    prompts: list[str]
    domains: list[str]
    strong: Floats
    weak: Floats

    @property
    def gain(self) -> Floats:
        """[n] what the strong side is better by, in [-1, 1]; 0 is a tie."""
        return self.strong - self.weak


def read_labels(file: Path, strong: Sequence[str], weak: Sequence[str]) -> Labels:
    """The labels of a Parquet, JSONL or CSV file for two sides, each of one or several models.

    Several answers of one side to a prompt count by their mean. Pairs name no models, so there `strong` and `weak`
    are not looked at. InputFault when the file cannot be read, names no form, or holds nothing to learn from.
    """
    frame = _read_frame(file)
    columns = set(frame.columns)
    if columns.issuperset(OUTCOMES):
        scores = _from_outcomes(file, frame, strong, weak)
    elif columns.issuperset(BATTLES):
        scores = _from_battles(file, frame, strong, weak)
    elif columns.issuperset(PAIRS):
        scores = frame
    else:
        forms = "; ".join(", ".join(form) for form in (OUTCOMES, BATTLES, PAIRS))
        raise InputFault(f"{file}: labels need one of these sets of columns: {forms}")
    return _checked(file, scores)


def _read_frame(file: Path) -> pl.DataFrame:
    reader = READERS.get(file.suffix)
    if reader is None:
        raise InputFault(f"{file}: labels are read from {', '.join(READERS)}")
    try:
        frame = reader(file)
    except (pl.exceptions.PolarsError, OSError) as fault:
        raise InputFault(f"{file}: cannot be read: {str(fault).splitlines()[0]}") from fault
    if "domain" not in frame.columns:
        frame = frame.with_columns(domain=pl.lit(file.stem))
    return frame


def _from_outcomes(file: Path, frame: pl.DataFrame, strong: Sequence[str], weak: Sequence[str]) -> pl.DataFrame:
    _check_models(file, frame["model"], strong, weak)
    side = pl.col("model").is_in(list(strong))
    return (
        frame.filter(side | pl.col("model").is_in(list(weak)))
        .group_by("prompt", "domain")
        .agg(strong=pl.col("score").filter(side).mean(), weak=pl.col("score").filter(~side).mean())
        .drop_nulls(("strong", "weak"))
    )


def _from_battles(file: Path, frame: pl.DataFrame, strong: Sequence[str], weak: Sequence[str]) -> pl.DataFrame:
    unknown = sorted(set(frame["winner"].cast(pl.String).fill_null("null").unique()) - set(WINNERS))
    if unknown:
        raise InputFault(f"{file}: winner is {unknown[0]!r}, not one of {', '.join(WINNERS)}")
    _check_models(file, pl.concat((frame["model_a"], frame["model_b"])), strong, weak)
    first = pl.col("model_a").is_in(list(strong)) & pl.col("model_b").is_in(list(weak))
    second = pl.col("model_b").is_in(list(strong)) & pl.col("model_a").is_in(list(weak))
    won = pl.col("winner").replace_strict(WINNERS, return_dtype=pl.Float64)
    return (
        frame.filter(first | second)
        .with_columns(strong=pl.when(first).then(won).otherwise(1 - won))
        .with_columns(weak=1 - pl.col("strong"))
    )


def _check_models(file: Path, models: pl.Series, strong: Sequence[str], weak: Sequence[str]) -> None:
    known = set(models.drop_nulls().unique().to_list())
    for side, names in (("strong", strong), ("weak", weak)):
        if not known.intersection(names):
            some = ", ".join(sorted(known)[:8])
            raise InputFault(f"{file}: no labels of the {side} side ({', '.join(names)}); the file has {some}")


def _checked(file: Path, scores: pl.DataFrame) -> Labels:
    sides = scores.select(pl.col("strong", "weak").cast(pl.Float64, strict=False))
    if scores["prompt"].null_count() or scores["prompt"].dtype != pl.String:
        raise InputFault(f"{file}: a prompt is missing or is no text")
    if not sides.select(pl.all_horizontal(pl.all().is_between(0, 1).fill_null(value=False).all())).item():
        raise InputFault(f"{file}: a score is missing, NaN or not in [0, 1]")
    means = (
        scores.with_columns(sides).group_by("prompt").agg(pl.col("domain").min(), pl.col("strong", "weak").mean())
    )
    means = means.sort("prompt")
    labels = Labels(
        prompts=means["prompt"].to_list(),
        domains=means["domain"].cast(pl.String).to_list(),
        strong=means["strong"].to_numpy(),
        weak=means["weak"].to_numpy(),
    )
    if not labels.gain.any():
        raise InputFault(f"{file}: both sides are equally good on every prompt: there is nothing to learn")
    return labels
