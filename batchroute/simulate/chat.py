"""/v1/chat/completions: requests as OpenAI validates them, answers in its words. Knows no limits, no faults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from batchroute.simulate.answer import now
from batchroute.simulate.cache import bills_writes
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
from batchroute.simulate.question import NO_TOOLS, Count, Name, Piece, Terms, Tool

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchroute.simulate.answer import Finish, FlawlessAnswer, TrueBill
    from batchroute.simulate.question import Caching

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]
FINISHES: Mapping[Finish, str] = {"tool": "tool_calls"}


class ChatMessage(msgspec.Struct):
    role: Role
    content: str | list[Part] | None = None

    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class Function(msgspec.Struct):
    name: Name
    parameters: dict[str, Any] = {}


class ChatTool(msgspec.Struct):
    """A function, or a custom tool, which takes free text."""

    type: str
    function: Function | None = None


class JsonSchema(msgspec.Struct):
    name: Name
    schema: dict[str, Any] = {}


class ResponseFormat(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class ChatQuestion(msgspec.Struct):
    """The fields of a chat completion request that change the answer."""

    model: Name
    messages: Annotated[list[ChatMessage], msgspec.Meta(min_length=1)]
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    service_tier: Tier | None = None
    tools: msgspec.Raw = NO_TOOLS
    tool_choice: ToolChoice | None = None
    response_format: ResponseFormat | None = None
    prompt_cache_options: CacheOptions | None = None

    def texts(self) -> list[str]:
        return [self.messages[-1].text()]

    def user_text(self) -> str:
        return next((message.text() for message in reversed(self.messages) if message.role == "user"), "")

    def characters(self) -> int:
        spoken = sum([len(message.text()) for message in self.messages])
        return spoken if self.tools is NO_TOOLS else spoken + len(self.tools)

    def media(self) -> int:
        return sum([media_in(message.content) for message in self.messages])

    def caching(self) -> Caching:
        return caching_of(self.model, self.prompt_cache_options)

    def pieces(self) -> Iterator[Piece]:
        if self.tools is not NO_TOOLS:
            yield Piece(bytes(self.tools).decode())
        for message in self.messages:
            yield from parts_of(message.content or "")

    def terms(self) -> Terms:
        return Terms(
            self.max_completion_tokens or self.max_tokens,
            self.n or 1,
            self.service_tier,
            self._tool() if self.tool_choice else None,
            self._schema() if self.response_format else None,
        )

    def _tool(self) -> Tool | None:
        functions = [tool.function for tool in _TOOLS.decode(self.tools) or [] if tool.function is not None]
        return demanded_by(self.tool_choice, [Tool(each.name, each.parameters) for each in functions])

    def _schema(self) -> dict[str, Any] | None:
        if self.response_format is None or self.response_format.type == "text":
            return None
        return self.response_format.json_schema.schema if self.response_format.json_schema else {}

    def whole(self, answer: FlawlessAnswer) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": answer.refusal}
        if answer.call:
            message["tool_calls"] = _calls(answer)
        end = {"logprobs": None, "finish_reason": FINISHES.get(answer.finish, answer.finish)}
        choices = [{"index": i, "message": message, **end} for i in range(self.n or 1)]
        return {**_head(answer, "chat.completion"), "choices": choices, "usage": usage(answer.bill)}

    def events(self, answer: FlawlessAnswer) -> Iterator[bytes]:
        """Chunks, choice after choice; the last one has the usage where that was asked for."""
        head = _head(answer, "chat.completion.chunk")
        with_usage = self.stream_options is not None and self.stream_options.include_usage
        beside = {"usage": None} if with_usage else {}
        finish = FINISHES.get(answer.finish, answer.finish)
        for i in range(self.n or 1):
            for delta in (*_deltas(answer), {}):
                choice = {"index": i, "delta": delta, "finish_reason": None if delta else finish}
                yield event({**head, "choices": [choice], **beside})
        if with_usage:
            yield event({**head, "choices": [], "usage": usage(answer.bill)})
        yield b"data: [DONE]\n\n"


_DECODER = msgspec.json.Decoder(ChatQuestion)
_TOOLS = msgspec.json.Decoder(list[ChatTool] | None)


def read_chat(body: bytes) -> ChatQuestion:
    """ValueError says what a provider would not accept."""
    request = _DECODER.decode(body)
    if request.stream_options is not None and not request.stream:
        raise ValueError("`stream_options` is only allowed when `stream` is true")
    if request.tools is not NO_TOOLS:
        _TOOLS.decode(request.tools)
    form = request.response_format
    if form is not None and form.type == "json_schema" and form.json_schema is None:
        raise ValueError("`response_format` of the type json_schema has no `json_schema`")
    return request


def _head(answer: FlawlessAnswer, kind: str) -> dict[str, Any]:
    head = {
        "id": f"chatcmpl-simulated-{answer.number:012x}",
        "object": kind,
        "created": now(),
        "model": answer.bill.model,
        "system_fingerprint": "fp_simulated",
    }
    return head if answer.tier is None else {**head, "service_tier": answer.tier}


def _calls(answer: FlawlessAnswer) -> list[dict[str, Any]]:
    call = answer.call
    if call is None:
        return []
    function = {"name": call.name, "arguments": call.arguments}
    return [{"id": f"call_simulated_{answer.number:012x}", "type": "function", "function": function}]


def _deltas(answer: FlawlessAnswer) -> Iterator[dict[str, Any]]:
    if answer.call is None:
        yield {"role": "assistant", "content": ""}
        kind = "content" if answer.refusal is None else "refusal"
        yield from ({kind: piece} for piece in answer.pieces())
        return
    (call,) = _calls(answer)
    begun = {**call, "index": 0, "function": {"name": answer.call.name, "arguments": ""}}
    yield {"role": "assistant", "content": None, "tool_calls": [begun]}
    for piece in answer.pieces():
        yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}


def usage(bill: TrueBill) -> dict[str, Any]:
    """What is billed, in the words of chat completions; written tokens where the model bills them."""
    prompt = {"cached_tokens": bill.cached_tokens, "audio_tokens": 0}
    if bill.written_tokens or bills_writes(bill.model):
        prompt["cache_write_tokens"] = bill.written_tokens
    return {
        "prompt_tokens": bill.prompt_tokens,
        "completion_tokens": bill.completion_tokens,
        "total_tokens": bill.prompt_tokens + bill.completion_tokens,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {"reasoning_tokens": bill.reasoning_tokens, "audio_tokens": 0},
    }


CHAT = SimulatedDialect(read_chat, openai_error, openai_limits, "x-request-id")
