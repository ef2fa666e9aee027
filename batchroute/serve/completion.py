"""An answer as RouteLLM's callers read it: by attribute as the `openai` package's, by key as a dictionary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchroute.types import Result

# What an answer may leave out, and reads as None: callers ask `if message.tool_calls:`.
_OPTIONAL = frozenset(
    {
        "annotations",
        "audio",
        "content",
        "finish_reason",
        "function_call",
        "logprobs",
        "reasoning_content",
        "refusal",
    }
    | {"service_tier", "system_fingerprint", "tool_calls", "usage"}
)


@dataclass(frozen=True, slots=True)
class ChatCompletion:
    """A JSON object whose fields are attributes and keys, as are those of every object inside it.

    `answer.choices[0].message.content` and `answer["choices"][0]["message"]["content"]` are the same;
    `answer.model_dump()` is plain dictionaries and lists. `routed` is the row a run would have recorded: its
    `route`, `score`, `attempts`, and `cost_usd`, None where price or usage is unknown. Objects inside have none.
    """

    _fields: dict[str, Any]
    routed: Result | None = None

    def __getattr__(self, name: str) -> Any:
        if name in self._fields:
            return _readable(self._fields[name])
        if name in _OPTIONAL:
            return None
        raise AttributeError(f"the answer has no {name!r}; it has {', '.join(self._fields)}")

    def __getitem__(self, name: str) -> Any:
        return _readable(self._fields[name])

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def keys(self) -> list[str]:
        return list(self._fields)

    def get(self, name: str, default: Any = None) -> Any:
        return _readable(self._fields.get(name, default))

    def model_dump(self) -> dict[str, Any]:
        """Plain dictionaries and lists."""
        return self._fields

    def model_dump_json(self) -> str:
        return msgspec.json.encode(self._fields).decode()


def _readable(value: Any) -> Any:
    if isinstance(value, dict):
        return ChatCompletion(value)
    return [_readable(item) for item in value] if isinstance(value, list) else value
