"""The prompt cache: which tokens of a prompt are read from it and which are written to it.

Prompts of 1,024 tokens and more are cached by prefix. What is written can be read as soon as it is billed; the
oldest entries fall out when there are too many, none by age, so that a run is repeatable.

    gpt-5.6 and later   written at the ends of messages and at `prompt_cache_breakpoint`, and billed for it
    Anthropic           written where `cache_control` stands, and billed for it; without that nothing is cached
    any other model     kept in steps of 128 tokens, and billed for reading alone

A system message of 2,000 tokens and a question of 500, three times with another question each:

                        first             second                    third
    gpt-6-luna          2,500 written     2,000 read, 500 written   2,000 read, 500 written
    gpt-4o              2,500 plain       1,920 read (15 * 128)     1,920 read
    claude-*, system    2,000 written     2,000 read                2,000 read
      marked            500 plain         500 plain                 500 plain
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batchroute.simulate.question import Caching, Mark, Question

SMALLEST_TOKENS = 1024  # of a prefix that is kept
STEP_TOKENS = 128
MOST_ENTRIES = 65_536
GPT = re.compile(r"(?:.*/)?gpt-(\d+)(?:\.(\d+))?(?:-|$)")
WRITTEN_AT: Mapping[Caching, frozenset[Mark]] = {
    "messages": frozenset({"message", "breakpoint"}),
    "breakpoints": frozenset({"breakpoint", "1h"}),
}


def bills_writes(model: str) -> bool:
    """Whether an OpenAI model bills what it writes to its cache: gpt-5.6 and later, by the name."""
    found = GPT.match(model)
    return found is not None and (int(found[1]), int(found[2] or 0)) >= (5, 6)


class CacheUse(NamedTuple):
    """What of a prompt is read and written, in tokens, and the entries that make it so once it is billed."""

    read_tokens: int = 0
    written_tokens: int = 0
    written_1h_tokens: int = 0
    entries: Sequence[int] = ()


NONE = CacheUse()


class _End(NamedTuple):
    """Where a prompt may be cut: so many tokens in, known to the cache by `entry`."""

    tokens: int
    entry: int
    mark: Mark


class PromptCache:
    """What has been written so far."""

    def __init__(self, most_entries: int = MOST_ENTRIES) -> None:
        self._entries: OrderedDict[int, None] = OrderedDict()
        self._most_entries = most_entries

    def use(self, question: Question, prompt_tokens: int, characters_per_token: float) -> CacheUse:
        """What the cache does for a question of so many tokens; nothing is written before `keep`."""
        if prompt_tokens < SMALLEST_TOKENS:
            return NONE
        caching = question.caching()
        if caching == "slices":
            return self._of_slices(question, characters_per_token)
        ends = list(_ends(question, characters_per_token))
        written = [end for end in ends if end.mark in WRITTEN_AT[caching]]
        if not written:
            return NONE
        last = written[-1].tokens
        known = [end for end in ends if end.tokens <= last and end.entry in self._entries]
        read = known[-1].tokens if known else 0
        hour = max((end.tokens for end in written if end.mark == "1h"), default=0)
        entries = [end.entry for end in (*known, *written)]
        return CacheUse(read, last - read, max(0, hour - read), entries)

    def _of_slices(self, question: Question, characters_per_token: float) -> CacheUse:
        """The smallest prefix that is kept, then step by step; nothing is billed for writing it."""
        text = "".join([piece.text for piece in question.pieces()])
        entry, start, read = hash(question.model), 0, 0
        entries = []
        for tokens in range(SMALLEST_TOKENS, int(len(text) / characters_per_token) + 1, STEP_TOKENS):
            end = math.ceil(tokens * characters_per_token)
            entry = hash((entry, text[start:end]))
            entries.append(entry)
            start = end
            if entry in self._entries:
                read = tokens
        return CacheUse(read, entries=entries)

    def keep(self, use: CacheUse) -> None:
        """Writes the entries; those used last are kept longest."""
        entries = self._entries
        for entry in use.entries:
            entries[entry] = None
            entries.move_to_end(entry)
        while len(entries) > self._most_entries:
            entries.popitem(last=False)


def _ends(question: Question, characters_per_token: float) -> Iterator[_End]:
    """The ends of its pieces, as far as what lies before them is long enough to be kept."""
    # Python's own hash is salted anew for each process, and so is good for entries that no other process sees.
    entry, characters = hash(question.model), 0
    for piece in question.pieces():
        entry = hash((entry, piece.text))
        characters += len(piece.text)
        tokens = int(characters / characters_per_token)
        if tokens >= SMALLEST_TOKENS:
            yield _End(tokens, entry, piece.mark)
