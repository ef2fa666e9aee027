"""The prompts that ship with the demo: as varied as README says, and ranked as it says."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import msgspec
import numpy as np
import pytest

from batchroute.job.spec import RouterSpec
from batchroute.score.router import load_scorer
from batchroute.types import Questions

DEMO = Path(__file__).parents[2] / "jobs" / "demo.jsonl"
HARD = {
    "If a train leaves at 3 PM and travels 60 km/h, how far will it travel by 6:30 PM?",
    "Write a Python function to check if a given string is a palindrome, ignoring punctuation and spaces.",
}


class DemoPrompt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    topic: str
    prompt: str


@pytest.fixture(scope="module")
def prompts() -> list[DemoPrompt]:
    return [msgspec.json.decode(line, type=DemoPrompt) for line in DEMO.read_bytes().splitlines()]


def scripts(text: str) -> set[str]:
    """The writing systems of a text's letters: the first word of a letter's Unicode name."""
    return {unicodedata.name(letter).split()[0] for letter in text if letter.isalpha()}


def test_ids_count_the_prompts_in_order(prompts: list[DemoPrompt]) -> None:
    assert [prompt.id for prompt in prompts] == [f"q{number:03}" for number in range(1, 321)]


def test_no_prompt_comes_twice(prompts: list[DemoPrompt]) -> None:
    folded = [" ".join(prompt.prompt.casefold().split()) for prompt in prompts]
    assert len(set(folded)) == len(folded)


def test_the_two_known_prompts_are_there_to_the_letter(prompts: list[DemoPrompt]) -> None:
    assert {prompt.prompt for prompt in prompts} >= HARD


def test_topics_and_lengths_are_spread(prompts: list[DemoPrompt]) -> None:
    topics = [prompt.topic for prompt in prompts]
    assert len(set(topics)) >= 15
    assert max(map(topics.count, topics)) < len(topics) / 5
    lengths = sorted(len(prompt.prompt) for prompt in prompts)
    assert lengths[0] <= 5
    assert lengths[len(lengths) // 2] < 200
    assert lengths[-1] > 1500


def test_many_writing_systems(prompts: list[DemoPrompt]) -> None:
    found = set().union(*(scripts(prompt.prompt) for prompt in prompts))
    assert found >= {"LATIN", "ARABIC", "DEVANAGARI", "CJK", "HIRAGANA", "HANGUL", "CYRILLIC"}
    foreign = [prompt for prompt in prompts if scripts(prompt.prompt) - {"LATIN", "GREEK"}]
    assert len(foreign) >= 30


@pytest.mark.parametrize("piece", ["\n", "\t", '"', "```", "🎉"])
def test_text_that_breaks_careless_readers_is_among_them(prompts: list[DemoPrompt], piece: str) -> None:
    assert any(piece in prompt.prompt for prompt in prompts)


def test_the_two_known_prompts_rank_above_all_small_talk(prompts: list[DemoPrompt]) -> None:
    n = len(prompts)
    texts = [prompt.prompt for prompt in prompts]
    questions = Questions(
        texts=texts,
        ids=[prompt.id for prompt in prompts],
        forced=[None] * n,
        refused=np.zeros(n, np.bool_),
        chars=np.array([len(text) for text in texts], np.int64),
    )
    scores = load_scorer(RouterSpec(device="cpu")).score(questions)
    small_talk = [score for score, prompt in zip(scores, prompts, strict=True) if prompt.topic == "small_talk"]
    hard = [score for score, prompt in zip(scores, prompts, strict=True) if prompt.prompt in HARD]
    assert len(hard) == 2
    assert min(hard) > max(small_talk)
