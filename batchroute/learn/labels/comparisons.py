"""Labels of any form -> comparisons: a prompt, two models, and how far the first one's answer was the better."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from batchroute.errors import InputFault
from batchroute.learn.labels.files import ROW, WINNERS
from batchroute.learn.labels.sides import merged_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from batchroute.learn.labels.files import LabelFile
    from batchroute.types import Floats, Vectors

# Of a prompt answered by m models, each is compared with up to twice so many others, not with all m - 1: of 20
# models that is 80 comparisons in place of 190, and the loss is not dominated by the prompts with most answers.
OPPONENTS = 4


@dataclass(frozen=True, slots=True)
class Comparisons:
    """m comparisons over n distinct prompts, sorted: j is of models[first[j]] with models[second[j]].

    `target` [m] is the first model's side of it: 1 won, 0.5 a tie, 0 lost, and what lies between; `vectors`
    [n, dim] where they were asked for.
    """

    prompts: list[str]
    models: tuple[str, ...]
    prompt: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    target: Floats
    vectors: Vectors | None


def between_sides(files: Sequence[LabelFile], strong: str, weak: str) -> Comparisons:
    """One comparison of the two sides for each prompt: its mean gain, ties at one half."""
    parts = [merged_labels(file, [strong], [weak]) for file in files]
    gains = [pl.DataFrame({"prompt": part.prompts, "gain": part.gain}) for part in parts]
    rows = pl.concat(gains).with_row_index(ROW)
    means = rows.group_by("prompt").agg(pl.col(ROW).min(), pl.col("gain").mean().round(9)).sort("prompt")
    vectors = [part.vectors for part in parts if part.vectors is not None]
    count = len(means)
    return Comparisons(
        prompts=means["prompt"].to_list(),
        models=(strong, weak),
        prompt=np.arange(count),
        first=np.zeros(count, np.int64),
        second=np.ones(count, np.int64),
        target=(1 + means["gain"].to_numpy()) / 2,
        vectors=np.concatenate(vectors)[means[ROW].to_numpy()] if vectors else None,
    )


def between_all(files: Sequence[LabelFile], strong: str, weak: str, seed: int) -> Comparisons:
    """All battles, and of outcomes each model against some others on the same prompt (`seed` deals them out).

    `strong` and `weak` name the two models of pairs. InputFault where there is nothing to learn from.
    """
    starts = accumulate((len(file.frame) for file in files), initial=0)
    parts = [_battles(file, strong, weak, seed, start) for file, start in zip(files, starts, strict=False)]
    rows = pl.concat(parts)
    rows = rows.filter(pl.col("model_a") != pl.col("model_b")).sort("prompt", "model_a", "model_b", "target")
    models = pl.concat((rows["model_a"], rows["model_b"])).unique().sort()
    if rows.is_empty():
        raise InputFault(f"{files[0].file}: labels of one model only; a comparison takes two")
    if (rows["target"] == 0.5).all():
        raise InputFault(f"{files[0].file}: every comparison is a tie: there is nothing to learn")
    prompts = rows.group_by("prompt").agg(pl.col("vector").min()).sort("prompt")
    number = {name: place for place, name in enumerate(models)}
    vectors = [file.vectors for file in files if file.vectors is not None]
    return Comparisons(
        prompts=prompts["prompt"].to_list(),
        models=tuple(models),
        prompt=rows["prompt"].rle_id().to_numpy().astype(np.int64),
        first=rows["model_a"].replace_strict(number, return_dtype=pl.Int64).to_numpy(),
        second=rows["model_b"].replace_strict(number, return_dtype=pl.Int64).to_numpy(),
        target=rows["target"].to_numpy(),
        vectors=np.concatenate(vectors)[prompts["vector"].to_numpy()] if vectors else None,
    )


def _battles(labels: LabelFile, strong: str, weak: str, seed: int, start: int) -> pl.DataFrame:
    """prompt, model_a, model_b, target, and in `vector` the row, `start` rows of other files standing before."""
    frame = labels.frame.with_columns(vector=pl.col(ROW).cast(pl.Int64) + start)
    if labels.form == "battles":
        won = pl.col("winner").replace_strict(WINNERS, return_dtype=pl.Float64)
        return frame.select("prompt", "model_a", "model_b", won.alias("target"), "vector")
    if labels.form == "pairs":
        target = ((1 + pl.col("strong") - pl.col("weak")) / 2).alias("target")
        names = pl.lit(strong).alias("model_a"), pl.lit(weak).alias("model_b")
        return frame.select("prompt", *names, target, "vector")
    scores = frame.group_by("prompt", "model").agg(pl.col("score").mean().round(9), pl.col("vector").min())
    scores = scores.sort("prompt", "model")
    first, second = _dealt(scores["prompt"].rle().struct.field("len").to_numpy().astype(np.int64), seed)
    left, right = scores[first.tolist()], scores[second.tolist()]
    return pl.DataFrame(
        {
            "prompt": left["prompt"],
            "model_a": left["model"],
            "model_b": right["model"],
            "target": (1 + left["score"] - right["score"]) / 2,
            "vector": left["vector"],
        }
    )


def _dealt(sizes: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of rows of the same group, no pair twice: each group sits in a circle, and faces its neighbours."""
    # Five models seated at random as c a e b d: at distance 1 they are paired ca ae eb bd dc, at distance 2 ce ab
    # ed bc da. Those are all ten pairs; a distance of 3 would be one of 2 from the other side.
    starts = np.cumsum(sizes) - sizes
    group = np.repeat(np.arange(len(sizes)), sizes)
    seated = np.lexsort((np.random.default_rng(seed).random(len(group)), group))
    place = np.arange(len(group)) - starts[group]
    size = sizes[group]
    pairs = []
    for distance in range(1, OPPONENTS + 1):
        # half way round the circle two rows face each other from both sides
        once = (2 * distance < size) | ((2 * distance == size) & (place < distance))
        facing = starts[group] + (place + distance) % size
        pairs.append((seated[once], seated[facing[once]]))
    return np.concatenate([first for first, _ in pairs]), np.concatenate([second for _, second in pairs])
