"""Anthropic's /v1/messages: requests as it validates them, answers in its words. Knows no limits, no faults."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from batchroute.simulate.dialect import SimulatedDialect, event
from batchroute.simulate.question import MEDIA, Count, Name, Piece, Terms, Tool, demanded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchroute.simulate.answer import Finish, FlawlessAnswer, SimulatedError, TrueBill
    from batchroute.simulate.question import Caching, Mark
    from batchroute.simulate.traffic import Remaining

VERSION = "anthropic-version"  # the header that every request has to have
STOP_REASONS: Mapping[Finish, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool": "tool_use",
    "content_filter": "refusal",
}
TIERS: Mapping[str | None, str] = {"auto": "default", "standard_only": "default", None: "default"}
# A block as a stream begins it.
EMPTY: Mapping[str, dict[str, Any]] = {
    "text": {"text": ""},
    "tool_use": {"input": {}},
    "thinking": {"thinking": "", "signature": ""},
}
ERROR_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class CacheControl(msgspec.Struct):
    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] = "5m"

    def mark(self) -> Mark:
        return "1h" if self.ttl == "1h" else "breakpoint"


class ContentBlock(msgspec.Struct):
    """A block of a message: text, an image, a tool's use or its result."""

    type: str
    text: str = ""
    content: str | list[ContentBlock] | None = None
    cache_control: CacheControl | None = None

    def said(self) -> str:
        if isinstance(self.content, list):
            return "".join([block.said() for block in self.content])
        return self.content or self.text

    def piece(self) -> Piece:
        return Piece(self.said(), self.cache_control.mark() if self.cache_control else "")


class Turn(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: str | list[ContentBlock]

    def blocks(self) -> list[ContentBlock]:
        return [ContentBlock("text", self.content)] if isinstance(self.content, str) else self.content

    def text(self) -> str:
        return "".join([block.said() for block in self.blocks()])


class MessageTool(msgspec.Struct):
    """A tool of the client's, or one of the provider's own, which has no schema."""

    name: Name
    input_schema: dict[str, Any] | None = None
    cache_control: CacheControl | None = None


class ToolChoice(msgspec.Struct):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None


class OutputFormat(msgspec.Struct):
    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(msgspec.Struct):
    format: OutputFormat | None = None


class MessagesQuestion(msgspec.Struct, forbid_unknown_fields=True):
    """All fields that there are, as the API refuses any other; most of them change nothing here."""

    model: Name
    max_tokens: Count
    messages: Annotated[list[Turn], msgspec.Meta(min_length=1)]
    system: str | list[ContentBlock] = ""
    stream: bool | None = None
    tools: list[MessageTool] = []
    tool_choice: ToolChoice | None = None
    thinking: dict[str, Any] | None = None
    output_config: OutputConfig | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    cache_control: CacheControl | None = None
    stop_sequences: list[str] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_p: float | None = None
    top_k: int | None = None
    metadata: dict[str, Any] | None = None
    container: Any = None
    context_management: Any = None
    diagnostics: Any = None
    inference_geo: str | None = None
    mcp_servers: list[Any] | None = None
    speed: str | None = None

    def texts(self) -> list[str]:
        return [self.messages[-1].text()]

    def user_text(self) -> str:
        return next((turn.text() for turn in reversed(self.messages) if turn.role == "user"), "")

    def characters(self) -> int:
        return sum([len(piece.text) for piece in self.pieces()])

    def media(self) -> int:
        return sum(block.type in MEDIA for message in self.messages for block in message.blocks())

    def caching(self) -> Caching:
        return "breakpoints"

    def pieces(self) -> Iterator[Piece]:
        """Tools, then the system prompt, then the messages; a mark on the request itself is on its last block."""
        system = [ContentBlock("text", self.system)] if isinstance(self.system, str) else self.system
        pieces = [
            *(
                Piece(_tool_text(tool), tool.cache_control.mark() if tool.cache_control else "")
                for tool in self.tools
            ),
            *(block.piece() for block in system),
            *(block.piece() for message in self.messages for block in message.blocks()),
        ]
        if self.cache_control is not None:
            pieces[-1] = Piece(pieces[-1].text, self.cache_control.mark())
        yield from pieces

    def terms(self) -> Terms:
        form = self.output_config.format if self.output_config else None
        return Terms(self.max_tokens, 1, TIERS[self.service_tier], self._tool(), form.schema if form else None)

    def _tool(self) -> Tool | None:
        choice = self.tool_choice
        if choice is None or choice.type in {"auto", "none"}:
            return None
        offered = [Tool(tool.name, tool.input_schema or {}) for tool in self.tools]
        return demanded(offered, choice.name if choice.type == "tool" else None, "tools")

    def _thinks(self) -> bool:
        return self.thinking is not None and self.thinking.get("type") != "disabled"

    def whole(self, answer: FlawlessAnswer) -> dict[str, Any]:
        refused = answer.refusal is not None or answer.finish == "content_filter"
        return {
            **_head(answer),
            "content": _content(answer, self._thinks()),
            "stop_reason": "refusal" if refused else STOP_REASONS[answer.finish],
            "stop_sequence": None,
            "stop_details": _details(answer) if refused else None,
            "usage": usage(answer.bill, answer.tier),
        }

    def events(self, answer: FlawlessAnswer) -> Iterator[bytes]:
        """The message, block by block; the usage of the output comes with its end."""
        whole = self.whole(answer)
        begun = {**whole, "content": [], "stop_reason": None, "stop_details": None}
        begun["usage"] = {**whole["usage"], "output_tokens": 1}
        ends = ("stop_reason", "stop_sequence", "stop_details")
        end = {"delta": {name: whole[name] for name in ends}, "usage": whole["usage"]}
        yield event({"type": "message_start", "message": begun}, "message_start")
        yield event({"type": "ping"}, "ping")
        for index, block in enumerate(whole["content"]):
            for value in _block_events(block, answer):
                yield event({**value, "index": index}, value["type"])
        yield event({"type": "message_delta", **end}, "message_delta")
        yield event({"type": "message_stop"}, "message_stop")


_DECODER = msgspec.json.Decoder(MessagesQuestion)


def read_messages(body: bytes) -> MessagesQuestion:
    """ValueError says what a provider would not accept."""
    return _DECODER.decode(body)


def _tool_text(tool: MessageTool) -> str:
    return tool.name + msgspec.json.encode(tool.input_schema).decode()


def _head(answer: FlawlessAnswer) -> dict[str, Any]:
    ids = {"id": f"msg_simulated_{answer.number:012x}", "type": "message", "role": "assistant"}
    return {**ids, "model": answer.bill.model}


def _content(answer: FlawlessAnswer, thinks: bool) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if thinks and answer.bill.reasoning_tokens:
        blocks.append(
            {"type": "thinking", "thinking": "[simulated] Nothing was thought.", "signature": "simulated"}
        )
    if answer.call:
        # Arguments that were cut are no JSON: the API then gives what could be read of them, here nothing.
        arguments = msgspec.json.decode(answer.call.arguments) if answer.finish == "tool" else {}
        ids = {"id": f"toolu_simulated_{answer.number:012x}", "name": answer.call.name}
        blocks.append({"type": "tool_use", **ids, "input": arguments})
    elif answer.text is not None:
        blocks.append({"type": "text", "text": answer.text, "citations": None})
    return blocks


def _details(answer: FlawlessAnswer) -> dict[str, Any]:
    return {"type": "refusal", "category": None, "explanation": answer.refusal}


def _block_events(block: dict[str, Any], answer: FlawlessAnswer) -> Iterator[dict[str, Any]]:
    """One block: begun empty, then in pieces."""
    kind = block["type"]
    yield {"type": "content_block_start", "content_block": {**block, **EMPTY[kind]}}
    if kind == "thinking":
        deltas = [
            {"type": "thinking_delta", "thinking": block["thinking"]},
            {"type": "signature_delta", "signature": block["signature"]},
        ]
    elif kind == "tool_use":
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in answer.pieces()]
    else:
        deltas = [{"type": "text_delta", "text": piece} for piece in answer.pieces()]
    for delta in deltas:
        yield {"type": "content_block_delta", "delta": delta}
    yield {"type": "content_block_stop"}


def usage(bill: TrueBill, tier: str | None) -> dict[str, Any]:
    """What is billed, in Anthropic's words: the input is without what is read from the cache or written to it."""
    five_minutes = bill.written_tokens - bill.written_1h_tokens
    told = {
        "input_tokens": bill.prompt_tokens - bill.cached_tokens - bill.written_tokens,
        "cache_creation_input_tokens": bill.written_tokens,
        "cache_read_input_tokens": bill.cached_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": five_minutes,
            "ephemeral_1h_input_tokens": bill.written_1h_tokens,
        },
        "output_tokens": bill.completion_tokens,
        "output_tokens_details": {"thinking_tokens": bill.reasoning_tokens},
    }
    return told if tier is None else {**told, "service_tier": "standard" if tier == "default" else tier}


def anthropic_error(refusal: SimulatedError, request_id: str) -> dict[str, Any]:
    """An error object as Anthropic shapes it; its type follows the status."""
    usual = "invalid_request_error" if 400 <= refusal.status < 500 else "api_error"
    error = {"type": ERROR_TYPES.get(refusal.status, usual), "message": refusal.message}
    return {"type": "error", "error": error, "request_id": request_id}


def anthropic_limits(windows: list[Remaining]) -> dict[str, str]:
    """The headers anthropic-ratelimit-*, which name the moment of a reset; empty without limits."""
    headers: dict[str, str] = {}
    for window in windows:
        head = f"anthropic-ratelimit-{window.name}"
        reset = datetime.now(UTC) + timedelta(seconds=window.reset_s)
        headers[f"{head}-limit"] = f"{window.limit:.0f}"
        headers[f"{head}-remaining"] = str(window.left)
        headers[f"{head}-reset"] = reset.isoformat(timespec="seconds").replace("+00:00", "Z")
    return headers


MESSAGES = SimulatedDialect(read_messages, anthropic_error, anthropic_limits, "request-id", wants=VERSION)
