"""Small label files: prompts that are easy or hard, and how a big and a small model did on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from pathlib import Path

    from batchroute.types import Vectors

NAMES = ("Ann", "Bob", "Cleo", "Dan", "Eve", "Fay", "Gus", "Hal", "Ida", "Jon", "Kim", "Lou", "Max", "Ned", "Oda")
THEOREMS = ("Euler", "Gauss", "Abel", "Weyl", "Noether", "Zorn", "Cantor", "Galois", "Hilbert", "Riemann")
GREETINGS = ("Say hello to", "Say good night to", "Write a greeting for", "Thank")
TASKS = (
    "Prove the theorem of",
    "Derive the formula of",
    "Refute the conjecture of",
    "State and prove the lemma of",
)
EASY = [f"{verb} {name}." for name in NAMES for verb in GREETINGS]
HARD = [f"{verb} {name} in full." for name in THEOREMS for verb in TASKS]
DIMENSION = 6


def outcomes(others: int = 0) -> pl.DataFrame:
    """The big model is right everywhere, the small one on easy prompts, others on every third prompt."""
    rows = [(prompt, "big", 1.0) for prompt in EASY + HARD]
    rows += [(prompt, "small", 1.0) for prompt in EASY] + [(prompt, "small", 0.0) for prompt in HARD]
    rows += [
        (prompt, f"other-{n}", float((place + n) % 3 == 0))
        for n in range(others)
        for place, prompt in enumerate(EASY + HARD)
    ]
    return pl.DataFrame(rows, schema=["prompt", "model", "score"], orient="row")


def battles() -> pl.DataFrame:
    """Ties on easy prompts; the big model wins the hard ones, from either place."""
    rows = [(prompt, "big", "small", "tie") for prompt in EASY]
    rows += [(prompt, "small", "big", "model_b") for prompt in HARD[::2]]
    rows += [(prompt, "big", "small", "model_a") for prompt in HARD[1::2]]
    return pl.DataFrame(rows, schema=["prompt", "model_a", "model_b", "winner"], orient="row")


def pairs() -> pl.DataFrame:
    rows = [(prompt, 0.9, 0.9) for prompt in EASY] + [(prompt, 0.9, 0.1) for prompt in HARD]
    return pl.DataFrame(rows, schema=["prompt", "strong", "weak"], orient="row")


def vectors(prompts: list[str], seed: int = 0) -> Vectors:
    """[n, DIMENSION] of length 1, whose first number tells hard prompts from easy ones."""
    made = np.random.default_rng(seed).standard_normal((len(prompts), DIMENSION))
    made[:, 0] = [3.0 if prompt in HARD else -3.0 for prompt in prompts]
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def with_vectors(frame: pl.DataFrame) -> pl.DataFrame:
    """With a column `v` of vectors, the same for the same prompt."""
    known = frame["prompt"].unique().sort().to_list()
    table = pl.DataFrame(
        {"prompt": known, "v": vectors(known).tolist()}, schema_overrides={"v": pl.List(pl.Float32)}
    )
    return frame.join(table, on="prompt", how="left", maintain_order="left")


def save(frame: pl.DataFrame, file: Path) -> Path:
    writers = {".parquet": frame.write_parquet, ".jsonl": frame.write_ndjson, ".csv": frame.write_csv}
    writers[file.suffix](file)
    return file
