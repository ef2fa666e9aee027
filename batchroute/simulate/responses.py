"""OpenAI's /v1/responses: requests as they are validated, answers in its words. Knows no limits, no faults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from batchroute.simulate.answer import now
from batchroute.simulate.dialect import SimulatedDialect, event
from batchroute.simulate.openai import (
    CacheOptions,
    Part,
    Tier,
    ToolChoice,
    caching_of,
    demanded_by,
    media_in,
    openai_error,
    openai_limits,
    parts_of,
)
from batchroute.simulate.question import NO_TOOLS, Name, Piece, Terms, Tool

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchroute.simulate.answer import FlawlessAnswer, TrueBill
    from batchroute.simulate.question import Caching


# An item as a stream begins it.
EMPTY: Mapping[str, dict[str, Any]] = {
    "message": {"content": []},
    "function_call": {"arguments": ""},
    "reasoning": {},
}


class Item(msgspec.Struct):
    """An item of the input: a message, a call, its output, reasoning. What it says counts as its text."""

    type: str = "message"
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | list[Part] | None = None
    arguments: str = ""
    output: str | list[Part] | None = None

    def pieces(self) -> Iterator[Piece]:
        said = self.content if self.content is not None else self.output
        return parts_of(said or self.arguments)

    def text(self) -> str:
        return "".join([piece.text for piece in self.pieces()])


class ResponseTool(msgspec.Struct):
    """A function, or a tool of the provider's own, which is never called here."""

    type: str
    name: str | None = None
    parameters: dict[str, Any] | None = None


class TextFormat(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    schema: dict[str, Any] | None = None


class TextOptions(msgspec.Struct):
    format: TextFormat | None = None


class ResponsesQuestion(msgspec.Struct):
    """The fields of a request that change the answer, and those that the answer repeats."""

    model: Name
    input: str | Annotated[list[Item], msgspec.Meta(min_length=1)]
    instructions: str | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=16)] | None = None
    stream: bool | None = None
    service_tier: Tier | None = None
    tools: msgspec.Raw = NO_TOOLS
    tool_choice: ToolChoice | None = None
    text: TextOptions | None = None
    prompt_cache_options: CacheOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    parallel_tool_calls: bool | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None

    def _items(self) -> list[Item]:
        return [Item(role="user", content=self.input)] if isinstance(self.input, str) else self.input

    def texts(self) -> list[str]:
        return [self._items()[-1].text()]

    def user_text(self) -> str:
        return next((item.text() for item in reversed(self._items()) if item.role == "user"), "")

    def characters(self) -> int:
        spoken = sum([len(item.text()) for item in self._items()]) + len(self.instructions or "")
        return spoken if self.tools is NO_TOOLS else spoken + len(self.tools)

    def media(self) -> int:
        return sum([media_in(item.content) for item in self._items()])

    def caching(self) -> Caching:
        return caching_of(self.model, self.prompt_cache_options)

    def pieces(self) -> Iterator[Piece]:
        if self.tools is not NO_TOOLS:
            yield Piece(bytes(self.tools).decode())
        if self.instructions:
            yield Piece(self.instructions, "message")
        for item in self._items():
            yield from item.pieces()

    def terms(self) -> Terms:
        return Terms(
            self.max_output_tokens,
            1,
            self.service_tier,
            self._tool() if self.tool_choice else None,
            self._schema(),
        )

    def _tool(self) -> Tool | None:
        offered = _TOOLS.decode(self.tools) or []
        return demanded_by(
            self.tool_choice, [Tool(tool.name, tool.parameters or {}) for tool in offered if tool.name is not None]
        )

    def _schema(self) -> dict[str, Any] | None:
        form = self.text.format if self.text else None
        return None if form is None or form.type == "text" else form.schema or {}

    def whole(self, answer: FlawlessAnswer) -> dict[str, Any]:
        cut = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(answer.finish)
        return {
            **self._begun(answer),
            "status": "incomplete" if cut else "completed",
            "incomplete_details": {"reason": cut} if cut else None,
            "output": _output(answer),
            "usage": usage(answer.bill),
        }

    def _begun(self, answer: FlawlessAnswer) -> dict[str, Any]:
        """The response before there is any output; it repeats what was asked."""
        return {
            "id": f"resp_simulated_{answer.number:012x}",
            "object": "response",
            "created_at": now(),
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "instructions": self.instructions,
            "max_output_tokens": self.max_output_tokens,
            "model": answer.bill.model,
            "output": [],
            "parallel_tool_calls": self.parallel_tool_calls is not False,
            "store": self.store is not False,
            "temperature": self.temperature,
            "text": self.text or {"format": {"type": "text"}},
            "tool_choice": self.tool_choice or "auto",
            "tools": self.tools,
            "top_p": self.top_p,
            "metadata": self.metadata or {},
            "usage": None,
            **({} if answer.tier is None else {"service_tier": answer.tier}),
        }

    def events(self, answer: FlawlessAnswer) -> Iterator[bytes]:
        """The response, item by item; each event is numbered."""
        begun, whole = self._begun(answer), self.whole(answer)
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": begun},
            {"type": "response.in_progress", "response": begun},
        ]
        for index, item in enumerate(whole["output"]):
            events += _item_events(item, index, answer)
        events.append({"type": f"response.{whole['status']}", "response": whole})
        for number, value in enumerate(events):
            yield event({**value, "sequence_number": number}, value["type"])


_DECODER = msgspec.json.Decoder(ResponsesQuestion)
_TOOLS = msgspec.json.Decoder(list[ResponseTool] | None)


def read_responses(body: bytes) -> ResponsesQuestion:
    """ValueError says what a provider would not accept."""
    request = _DECODER.decode(body)
    for tool in _TOOLS.decode(request.tools) or []:
        if tool.type == "function" and not tool.name:
            raise ValueError("missing required parameter: 'tools[0].name'")
    form = request.text.format if request.text else None
    if form is not None and form.type == "json_schema" and (form.name is None or form.schema is None):
        raise ValueError("`text.format` of the type json_schema has no `name` or no `schema`")
    return request


def _output(answer: FlawlessAnswer) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    status = "incomplete" if answer.finish == "length" else "completed"
    if answer.bill.reasoning_tokens:
        items.append({"id": f"rs_simulated_{answer.number:012x}", "type": "reasoning", "summary": []})
    if answer.call:
        name, arguments = answer.call
        ids = {"id": f"fc_simulated_{answer.number:012x}", "call_id": f"call_simulated_{answer.number:012x}"}
        items.append(
            {**ids, "type": "function_call", "name": name, "arguments": arguments, "status": status},
        )
    elif (part := _part(answer)) is not None:
        message = {"type": "message", "role": "assistant", "content": [part], "status": status}
        items.append({"id": f"msg_simulated_{answer.number:012x}", **message})
    return items


def _part(answer: FlawlessAnswer) -> dict[str, Any] | None:
    if answer.refusal is not None:
        return {"type": "refusal", "refusal": answer.refusal}
    if answer.text is None:
        return None
    return {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}


def _item_events(item: dict[str, Any], index: int, answer: FlawlessAnswer) -> Iterator[dict[str, Any]]:
    """One item: begun empty, then in pieces, then whole."""
    at = {"output_index": index, "item_id": item["id"]}
    begun = {**item, **EMPTY[item["type"]], **({"status": "in_progress"} if "status" in item else {})}
    yield {"type": "response.output_item.added", "output_index": index, "item": begun}
    if item["type"] == "function_call":
        for piece in answer.pieces():
            yield {"type": "response.function_call_arguments.delta", **at, "delta": piece}
        told = {"name": item["name"], "arguments": item["arguments"]}
        yield {"type": "response.function_call_arguments.done", **at, **told}
    for number, part in enumerate(item.get("content", ())):
        yield from _part_events(part, {**at, "content_index": number}, answer)
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _part_events(part: dict[str, Any], at: dict[str, Any], answer: FlawlessAnswer) -> Iterator[dict[str, Any]]:
    kind = "refusal" if part["type"] == "refusal" else "text"
    said = "refusal" if kind == "refusal" else "output_text"
    beside: dict[str, Any] = {} if kind == "refusal" else {"logprobs": []}
    yield {"type": "response.content_part.added", **at, "part": {**part, kind: ""}}
    for piece in answer.pieces():
        yield {"type": f"response.{said}.delta", **at, "delta": piece, **beside}
    yield {"type": f"response.{said}.done", **at, kind: part[kind], **beside}
    yield {"type": "response.content_part.done", **at, "part": part}


def usage(bill: TrueBill) -> dict[str, Any]:
    """What is billed, in the words of the Responses API."""
    return {
        "input_tokens": bill.prompt_tokens,
        "input_tokens_details": {"cached_tokens": bill.cached_tokens, "cache_write_tokens": bill.written_tokens},
        "output_tokens": bill.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": bill.reasoning_tokens},
        "total_tokens": bill.prompt_tokens + bill.completion_tokens,
    }


RESPONSES = SimulatedDialect(read_responses, openai_error, openai_limits, "x-request-id")
