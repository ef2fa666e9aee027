"""How often a promise is broken on jobs drawn from a table of outcomes, and how many strong calls it saves.

    PYTHONPATH=tests/support python tests/benchmark/promise_kept.py FILE --strong MODEL --weak MODEL

FILE is Parquet: `prompt`, `model`, `score` in [0, 1], a row for each answer; or `prompt`, `strong_correct` and
`weak_correct`. Its prompts are a job whose true quality is known at every threshold. Of it samples are drawn and a
share is chosen, 1,000 times; `plug-in` chooses the least share whose estimate passes. With --out the figures are
kept as JSON lines, which `promise_figure.py` draws.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

import batchroute as br
from outcomes import SCORES, Table, resample

if TYPE_CHECKING:
    from batchroute.types import Floats

MADE_UP = ("good", "useless", "adversarial", "constant", "five values")  # from the outcomes themselves, by noise


def main() -> None:
    given = arguments()
    prompts, table = read(given.file, given.strong, given.weak)
    name = given.name or given.file.stem
    kept = table.weak.mean() / table.strong.mean()
    print(f"{name}: {len(prompts):,} prompts, the weak side keeps {kept:.1%}")
    print("score            target  conf.   rows  broken  saved  of best  all weak   plug-in: broken  saved")
    for kind in given.scores:
        scores = scores_of(kind, prompts, table)
        for quality in given.quality:
            for rows in given.rows:
                figures = resample(
                    table, scores, quality=quality, rows=rows, confidence=given.confidence, jobs=given.jobs
                )
                print(
                    f"{kind:15} {quality:7.2f} {given.confidence:6.2f} {rows:6d} {figures.broken:7.1%}"
                    f" {figures.saved:6.1%} {figures.best:8.0%} {figures.all_weak:9.1%}"
                    f" {figures.plug_in_broken:17.1%} {figures.plug_in_saved:6.1%}",
                    flush=True,
                )
                if given.out:
                    line = {"name": name, "scores": kind, "quality": quality, "rows": rows, **asdict(figures)}
                    with given.out.open("a") as file:
                        file.write(json.dumps(line) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--strong")
    parser.add_argument("--weak")
    parser.add_argument("--name")
    parser.add_argument("--scores", nargs="+", default=["built-in", "length", *MADE_UP])
    parser.add_argument("--quality", nargs="+", type=float, default=[0.9, 0.95, 0.98])
    parser.add_argument("--rows", nargs="+", type=int, default=[200, 400, 800])
    parser.add_argument("--confidence", type=float, default=0.9)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def read(file: Path, strong: str | None, weak: str | None) -> tuple[list[str], Table]:
    """Prompts that both sides answered, once each, with both grades."""
    rows = pl.read_parquet(file)
    if "strong_correct" in rows.columns:
        pairs = rows.select("prompt", strong="strong_correct", weak="weak_correct").unique(
            "prompt", maintain_order=True
        )
    else:
        by_side = [
            rows.filter(pl.col("model") == model)
            .select("prompt", pl.col("score").alias(side))
            .unique("prompt", keep="first", maintain_order=True)
            for side, model in (("strong", strong), ("weak", weak))
        ]
        pairs = by_side[0].join(by_side[1], on="prompt", maintain_order="left")
    grades = pairs.select(pl.col("strong", "weak").cast(pl.Float64))
    return pairs["prompt"].to_list(), Table(grades["strong"].to_numpy(), grades["weak"].to_numpy())


def scores_of(kind: str, prompts: list[str], table: Table) -> Floats:
    if kind == "built-in":
        return br.score(prompts)["score"].to_numpy()
    if kind == "length":
        return np.array([float(len(prompt)) for prompt in prompts])
    return SCORES[kind](np.random.default_rng(0), table)


if __name__ == "__main__":
    main()
