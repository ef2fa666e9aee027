"""Texts -> surface features: length, digits, symbols, marks of code and of multiple choice, kinds of task.

They stand beside the n-grams because no bag of n-grams knows how long a text is or how much of it is mathematics.
Their order and scales are part of the built-in embedder's format; each is about 1 wide and bounded.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from batchroute.score.embed.ngrams import find_words, fold_case, lay_out

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from batchroute.score.embed.ngrams import Bytes, Ids, Layout, Words
    from batchroute.types import Floats

CLASSES = {
    "line": b"\n",
    "lower": b"abcdefghijklmnopqrstuvwxyz",
    "upper": b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "digit": b"0123456789",
    "stop": b".!",
    "question": b"?",
    "comma": b",;:",
    "quote": b"\"'`",
    "bracket": b"()[]{}",
    "maths": b"+-*/=<>^%",
    "latex": b"\\$_",
    "wide": bytes(range(128, 256)),
}
FEATURES = (
    "constant", "log chars", "log chars squared", "log words", "letters a word",
    "digit share", "upper share", "bracket share", "maths share", "wide share", "comma share", "quote share",
    "latex share", "log numbers", "log lines", "log stops", "log questions", "log maths", "log latex",
    "long word share", "log choices", "log indented lines", "is choice", "choice x maths", "choice x digits",
    "choice x log chars", "prose length", "exact task", "free task",
)  # fmt: skip
IS_CHOICE = FEATURES.index("is choice")
# Shares of the characters: what a share is multiplied with, so that a high one is about 1, and its largest value.
SHARES = {
    "digit": (10, 3),
    "upper": (10, 3),
    "bracket": (20, 3),
    "wide": (4, 2),
    "comma": (20, 2),
    "quote": (20, 2),
    "latex": (20, 3),
}
LOGS = {
    "log lines": "line",
    "log stops": "stop",
    "log questions": "question",
    "log maths": "maths",
    "log latex": "latex",
}
# Words of tasks with a right answer (programs, calculations, inference, extraction) and of those without (writing,
# role play, talk). No label file tells the two apart well: they are for a recipe's prior.
EXACT_WORDS = """
    algorithm api array binary bug bash class code compile css database debug function functions html
    implement integer java javascript json loop method pointer program programming pseudocode python query
    react recursion regex rust script sql stack string test typescript unit variable xml angle area average
    calculate circle compute cost derivative digit digits divisible equal equals equation equations evaluate
    find fraction half hours integers integral km many matrix miles minutes much n number numbers percent
    percentage perimeter polynomial price probability product proof prove radius ratio rectangle remainder
    simplify solve speed square sum theorem times total triangle twice value volume x y after assume before
    cannot classify conclude contradiction csv deduce determine each every exactly extract false following
    format identify if implies infer left list logic logical must next older order puzzle riddle sequence step
    steps strategy suppose table taller true who whose younger
"""
FREE_WORDS = """
    advice birthday blog caption character characters creative describe dialogue email essay favorite
    favourite feel feeling feelings friendly haiku headline hello hey hi i ideas imagine inspiring joke letter
    limerick love lyrics me my name names narrator novel opinion persona persuasive please poem post pretend
    recommend roleplay romantic scene slogan song speech story style suggest tell thank thanks tips title tone
    travel tweet vivid voice wish you your
"""
EXACT, FREE = 1, 2
MOST_EXACT, MOST_FREE = 3, 4  # such words; more of them say no more
VOCABULARY_BITS = 18
SURFACE = len(FEATURES)
LONG_WORD_BYTES = 8
MOST = 4.0  # no feature goes beyond, so that a text unlike any in training keeps a sensible score
MOST_PROSE_LENGTH = 1.5


def surface_features(layout: Layout, words: Words) -> Floats:
    """[n, SURFACE] float64, columns as named in `FEATURES`.

    "prose length" is the log length where a text holds neither formulas nor indented code, else 0: longer prose is
    harder, a longer formula or program is not. "exact task" and "free task" are the share of MOST_EXACT words (or
    numbers) and of MOST_FREE words that a text has, 0 for multiple choice, whose subject says more.
    """
    count = _class_counts(layout)
    chars = np.maximum(layout.ends - layout.starts - 2, 1).astype(np.float64)
    word_count = np.maximum(np.diff(words.first), 1).astype(np.float64)
    letters = count["lower"] + count["upper"] + count["wide"]
    long_words = _words_where(words, words.ends - words.starts >= LONG_WORD_BYTES)
    numbers = _words_where(words, _class_table()[layout.data[words.starts]] == _number_of("digit"))
    choices, indented = _line_starts(layout)
    is_choice = (choices >= 2).astype(np.float64)
    column = {f"{name} share": _share(count[name], chars, *scale) for name, scale in SHARES.items()}
    column |= {name: np.log1p(count[of]) for name, of in LOGS.items()}
    column["constant"] = np.ones(len(chars))
    column["log chars"] = np.clip(np.log1p(chars) - 5, -2.5, 3.5)  # 12 to 4,900 characters
    column["log chars squared"] = column["log chars"] ** 2 / 2
    column["log words"] = np.log1p(word_count) - 3.5
    column["letters a word"] = np.minimum(letters / word_count, 12) / 2 - 2.4
    column["long word share"] = 4 * long_words / word_count
    column["maths share"] = _share(count["maths"] + count["latex"], chars, 10, 2)
    column["log numbers"] = np.log1p(numbers)
    column["log choices"] = np.log1p(choices)
    column["log indented lines"] = np.log1p(indented)
    column["is choice"] = is_choice
    column["choice x maths"] = is_choice * column["maths share"]
    column["choice x digits"] = is_choice * column["digit share"]
    column["choice x log chars"] = is_choice * column["log chars"]
    formula = (20 * count["latex"] / chars > 0.3) | (count["latex"] >= 4)
    length = np.clip(column["log chars"], -MOST_PROSE_LENGTH, MOST_PROSE_LENGTH)
    column["prose length"] = np.where(formula | (indented >= 1), 0.0, length)
    exact, free = _task_words(words)
    column["exact task"] = (1 - is_choice) * (np.minimum(exact + numbers, MOST_EXACT) / MOST_EXACT)
    column["free task"] = (1 - is_choice) * (np.minimum(free, MOST_FREE) / MOST_FREE)
    bounded: Floats = np.clip(np.stack([column[name] for name in FEATURES], axis=1), -MOST, MOST)
    return bounded


def _share(count: Floats, chars: Floats, factor: float, most: float) -> Floats:
    share: Floats = np.minimum(factor * count / chars, most)
    return share


def _task_words(words: Words) -> tuple[Floats, Floats]:
    """How many words each text has of tasks with a right answer, and of those without."""
    task = _vocabulary()[_slots(words)]
    return _words_where(words, task == EXACT), _words_where(words, task == FREE)


def _class_counts(layout: Layout) -> dict[str, Floats]:
    """How many bytes of each class every text has, in one pass."""
    width, n = len(CLASSES) + 1, len(layout.starts)
    cell = np.repeat(np.arange(n) * width, layout.ends - layout.starts)
    cell += _class_table()[layout.data[: layout.size]]
    counts = np.bincount(cell, minlength=width * n).reshape(n, width).astype(np.float64)
    return {name: counts[:, _number_of(name)] for name in CLASSES}


def _words_where(words: Words, mask: NDArray[np.bool_]) -> Floats:
    before = np.concatenate((np.zeros(1, np.int64), np.cumsum(mask)))
    return np.diff(before[words.first]).astype(np.float64)


def _line_starts(layout: Layout) -> tuple[Floats, Floats]:
    """Lines that begin like a choice ("A." or "A)"), and lines that are indented."""
    data, n = layout.data, len(layout.starts)
    lines = np.flatnonzero(data[: layout.size] == ord("\n"))
    text = np.searchsorted(layout.starts, lines, side="right") - 1
    first, second = data[lines + 1], data[lines + 2]
    choice = (first >= ord("A")) & (first <= ord("J")) & ((second == ord(".")) | (second == ord(")")))
    indented = (first == ord(" ")) & (second == ord(" "))
    choices = np.bincount(text[choice], minlength=n).astype(np.float64)
    return choices, np.bincount(text[indented], minlength=n).astype(np.float64)


@cache
def _class_table() -> NDArray[np.int64]:
    table = np.zeros(256, np.int64)
    for name, members in CLASSES.items():
        table[list(members)] = _number_of(name)
    return table


@cache
def _vocabulary() -> Bytes:
    """[2 ** VOCABULARY_BITS] EXACT, FREE or 0: what the word that hashes to a slot belongs to."""
    table = np.zeros(1 << VOCABULARY_BITS, np.uint8)
    for task, text in ((EXACT, EXACT_WORDS), (FREE, FREE_WORDS)):
        layout = lay_out([text])
        table[_slots(find_words(fold_case(layout), layout))] = task
    return table


def _slots(words: Words) -> Ids:
    return (words.hashes >> np.uint64(64 - VOCABULARY_BITS)).astype(np.int64)


def _number_of(name: str) -> int:
    return list(CLASSES).index(name) + 1
