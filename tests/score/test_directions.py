"""The built-in model's directions: which kinds of prompts it ranks above which. No label file tells it these."""

from __future__ import annotations

import tomllib
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from batchroute.job.spec import RouterSpec
from batchroute.score.rater import bare_questions
from batchroute.score.router import load_scorer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchroute.types import Floats


class Prompts(msgspec.Struct, frozen=True):
    """`harder` by kind of task; `other_languages` with their like in English."""

    trivia: list[str]
    very_short: list[str]
    harder: dict[str, list[str]]
    other_languages: dict[str, str]


@pytest.fixture(scope="module")
def prompts() -> Prompts:
    file = Path(__file__).parent / "data" / "directions.toml"
    return msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8")), Prompts)


def scores_of(texts: Iterable[str]) -> Floats:
    return load_scorer(RouterSpec(device="cpu")).score(bare_questions(list(texts)))


def ranked_above(texts: list[str], others: Iterable[str]) -> dict[str, float]:
    """Which share of the others each text ranks above."""
    shares = (scores_of(texts)[:, np.newaxis] > scores_of(others)).mean(axis=1)
    return dict(zip(texts, shares.tolist(), strict=True))


@pytest.mark.parametrize("kind", ["programming", "maths", "reading"])
def test_tasks_in_free_text_rank_above_easy_trivia(prompts: Prompts, kind: str) -> None:
    shares = ranked_above(prompts.harder[kind], prompts.trivia)
    assert np.mean(list(shares.values())) > 0.9
    assert not {text: share for text, share in shares.items() if share < 0.5}


def test_prompts_that_are_not_english_lean_strong(prompts: Prompts) -> None:
    pairs = prompts.other_languages
    higher = scores_of(pairs) > scores_of(pairs.values())
    assert not [text for text, is_higher in zip(pairs, higher.tolist(), strict=True) if not is_higher]


def test_very_short_questions_lean_weak(prompts: Prompts) -> None:
    longer = [*prompts.trivia, *chain(*prompts.harder.values()), *prompts.other_languages.values()]
    shares = ranked_above(prompts.very_short, longer)
    assert np.mean(list(shares.values())) < 0.25
    assert not {text: share for text, share in shares.items() if share > 0.5}
