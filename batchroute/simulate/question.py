"""What every request says, whichever dialect it came in; knows none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from batchroute.simulate.answer import FlawlessAnswer

Name = Annotated[str, msgspec.Meta(min_length=1)]
Count = Annotated[int, msgspec.Meta(ge=1)]
# The parts of a prompt that are no text, as one dialect or another calls them.
MEDIA = frozenset(
    {"image_url", "input_audio", "file", "video_url", "input_image", "input_file", "image", "document"}
)
NO_TOOLS = msgspec.Raw(b"[]")
# Where a prompt may be cut for a cache: at the end of a message, where the client marked it, there for an hour.
Mark = Literal["", "message", "breakpoint", "1h"]
# How a cache cuts prompts: every 128 tokens, at the ends of messages and at marks, at marks alone.
Caching = Literal["slices", "messages", "breakpoints"]


class Piece(NamedTuple):
    """A part of a prompt and what stands at its end."""

    text: str
    mark: Mark = ""


class Tool(NamedTuple):
    """A tool that a request offers, with the schema of its arguments."""

    name: str
    schema: dict[str, Any]


class Terms(msgspec.Struct, frozen=True):
    """How a request wants to be answered: the longest answer, the tier, a tool it demands, a schema it sets."""

    most_tokens: int | None = None
    choices: int = 1
    tier: str | None = None
    tool: Tool | None = None
    schema: dict[str, Any] | None = None


class Question(Protocol):
    """A valid request. Its `texts` (the last message, or each text to embed) are what faults are drawn by.

    `user_text` is the last message of the user, "" without one: what is answered. `characters` are those of all
    its text, tools among it; `media` counts its images, sounds and files.
    """

    @property
    def model(self) -> str: ...
    @property
    def stream(self) -> bool | None: ...
    def texts(self) -> list[str]: ...
    def user_text(self) -> str: ...
    def characters(self) -> int: ...
    def media(self) -> int: ...
    def caching(self) -> Caching: ...
    def pieces(self) -> Iterator[Piece]: ...
    def terms(self) -> Terms: ...
    def whole(self, answer: FlawlessAnswer) -> dict[str, Any]: ...
    def events(self, answer: FlawlessAnswer) -> Iterator[bytes]: ...


def demanded(tools: Iterable[Tool], name: str | None, field: str) -> Tool:
    """The tool of that name, the first one where any will do; ValueError where there is none."""
    for tool in tools:
        if name is None or tool.name == name:
            return tool
    raise ValueError(f"`tool_choice` demands {name or 'a tool'}, which is not in `{field}`")
