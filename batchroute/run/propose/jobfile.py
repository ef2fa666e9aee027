"""A proposal -> a job file for people to go on from: valid TOML, whatever the columns are called, with comments.

Knows how such a file is laid out; what its endpoints are is handed in as the text of a recipe.
"""

from __future__ import annotations

import textwrap
import tomllib
from typing import TYPE_CHECKING, Any

import tomli_w

from batchroute.job.prices import open_targets, price_words
from batchroute.job.spec import Endpoints

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from batchroute.run.propose.columns import Proposal

_WIDTH = 110
_REPLACED = "\N{REPLACEMENT CHARACTER}"
SKELETON_PATH = "prompts.jsonl"
_ROUTING = (
    "[routing]",
    "strong_fraction = 0.2           # the share that gains most; `plan` shows what others cost",
    "# quality = 0.95                # or: keep so much of the strong side's quality, as a [pilot] measures it",
)


def write_draft(
    *, path: str, output: str, proposal: Proposal | None, recipe: str, head: Sequence[str], max_cost_usd: float
) -> str:
    """The job file; `path` and `output` are written as they are, `recipe` has the endpoints.

    `head` are the lines of its first comment. Without a `proposal` the input is left to be filled in.
    """
    parts = [
        "\n".join(_comment(line) for line in head),
        "\n".join(["[input]", *(_blank_input(path) if proposal is None else _input(path, proposal))]),
        f"[output]\n{_pair('path', output, 'results, scores and the report go here')}",
        "\n".join(_ROUTING),
        *_endpoints(recipe),
        f"[limits]\n{_pair('max_cost_usd', max_cost_usd, 'never more than this, over all attempts and all runs')}",
    ]
    return "\n\n".join(parts) + "\n"


def _input(path: str, proposal: Proposal) -> Iterator[str]:
    yield _pair("path", path)
    yield from (_comment(note) for note in proposal.notes)
    yield _pair(proposal.asks, proposal.value)
    if proposal.asks == "format":
        return
    if proposal.asks != "messages":
        yield '# system = "You are terse."     # a system message before each'
    yield (
        '# id = "..."                    # a column that names the row'
        if proposal.id is None
        else _pair("id", proposal.id)
    )
    yield _pair("keep", proposal.keep, "columns copied beside each answer")
    if proposal.others:
        yield from _wrapped(f"also there: {', '.join(proposal.others)}")


def _blank_input(path: str) -> Iterator[str]:
    yield _pair(
        "path", path, "FILL IN: a file, a glob, a directory or s3://...; .jsonl, .parquet, .csv, .gz, .zst"
    )
    yield _pair("prompt", "prompt", "FILL IN: the column with the text; or instead of it one of these two:")
    yield '# messages = "messages"         # a column of chat messages'
    yield '# template = "Summarise: {{ text }}"   # several columns'
    yield '# id = "id"                     # a column that names the row'
    yield '# keep = ["topic"]              # columns copied beside each answer'


def _endpoints(recipe: str) -> Iterator[str]:
    """The sections of the recipe's endpoints as they stand there, each below its price."""
    endpoints = Endpoints.model_validate(tomllib.loads(recipe)["endpoints"])
    for target, section in zip(open_targets(endpoints).values(), _sections(recipe, "[endpoints."), strict=True):
        yield "\n".join([*_wrapped(price_words(target.pricing)), section])


def _sections(toml: str, header: str) -> list[str]:
    """Those whose first line begins so, without the blank lines and comments behind them."""
    found: list[list[str]] = []
    inside = False
    for line in toml.splitlines():
        if line.startswith("["):
            inside = line.startswith(header)
            found += [[]] if inside else []
        if inside:
            found[-1].append(line)
    return ["\n".join(lines).rstrip() for lines in found]


def _pair(key: str, value: Any, comment: str = "") -> str:
    pair = _one_line(tomli_w.dumps({key: value}))
    return f"{pair:31} # {comment}" if comment else pair


def _one_line(toml: str) -> str:
    """A pair whose list tomli_w has written an item a line."""
    first, *items = toml.strip().split("\n")
    return first + ", ".join(item.strip().removesuffix(",") for item in items[:-1]) + (items[-1] if items else "")


def _wrapped(text: str) -> Iterable[str]:
    return [_comment(line) for line in textwrap.wrap(_printable(text), _WIDTH - 2, break_long_words=False)]


def _comment(text: str) -> str:
    return f"# {_printable(text)}".rstrip()


def _printable(text: str) -> str:
    """Names come from outside: a line break in one would end the comment."""
    return "".join(char if char.isprintable() else _REPLACED for char in text)
