"""Anthropic's /v1/messages: chat messages -> a system prompt and blocks, blocks -> a completion.

Pure functions on values; what an error means stands in `classify`. Source: the types of anthropic-python 2.14, and
Anthropic's documentation as of November 2026. The version that is asked for is 2023-06-01: with 2026-10-21 the API
refuses temperature, top_p and top_k, and other servers of this API do not know it. `headers` may ask for another.
"""

from __future__ import annotations

import base64
import binascii
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from batchroute.job.params.words import Untranslatable
from batchroute.send.classify import Answer, malformed
from batchroute.send.dialects.dialect import Dialect
from batchroute.send.dialects.fields import objects_in, string, text_of
from batchroute.send.dialects.parts import SYSTEM_ROLES, DataUrl, image_url, media_in, parts_of, refuse_name
from batchroute.send.dialects.translated import TranslatedBody
from batchroute.send.usage import read_usage
from batchroute.types import Completion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from batchroute.send.dialects.dialect import WriteBody

    Block = dict[str, Any]

API = "anthropic"
_TURNS = {"user": "user", "assistant": "assistant", "tool": "user"}
_STOP_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
}  # `refusal` is called so here, too; `pause_turn`, a server's tool that wants to go on, has no other name


def write_anthropic(model: str, params: Mapping[str, Any]) -> WriteBody:
    """Writes the bodies of one endpoint."""
    return TranslatedBody(API, model, params, "max_tokens", _conversation)


def _conversation(messages: list[dict[str, Any]], fields: Mapping[str, Any]) -> dict[str, Any]:
    """System messages stand in a field of their own, wherever they were; turns of one role are one message.

    system A, user B, assistant calls f, tool R, user C, system D
    ->  system "A\\nD", user B, assistant [f], user [result R, text C]
    """
    places = [(f"messages[{index}]", message) for index, message in enumerate(messages)]
    system = [
        block
        for place, message in places
        if message["role"] in SYSTEM_ROLES
        for block in _blocks(message.get("content"), f"{place}.content")
    ]
    turns: list[dict[str, Any]] = []
    for place, message in places:
        refuse_name(message, place, API)
        if message["role"] not in SYSTEM_ROLES:
            _add_turn(turns, message, place)
    if not turns:
        raise Untranslatable(f"messages: the {API} API needs one that is not the system's")
    return {"messages": turns, **_system(fields.get("system"), system)}


def _system(given: Any, blocks: list[Block]) -> dict[str, Any]:
    """One text; blocks where one of them says more than its text, such as what is to be cached."""
    if given is not None:
        blocks = [*_blocks(given, "system"), *blocks]
    if any(block.keys() != {"type", "text"} for block in blocks):
        return {"system": blocks}
    text = "\n".join(block["text"] for block in blocks)
    return {"system": text} if text else {}


def _add_turn(turns: list[dict[str, Any]], message: dict[str, Any], place: str) -> None:
    role = _TURNS.get(message["role"])
    if role is None:
        raise Untranslatable(f"{place}.role: the {API} API has no role {message['role']!r}")
    content = _turn(message, place)
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] = [*_as_blocks(turns[-1]["content"]), *_as_blocks(content)]
    else:
        turns.append({"role": role, "content": content})


def _turn(message: dict[str, Any], place: str) -> str | list[Block]:
    content = message.get("content")
    if message["role"] == "tool":
        result = content if isinstance(content, str) else _blocks(content, f"{place}.content")
        return [{"type": "tool_result", "tool_use_id": message.get("tool_call_id"), "content": result}]
    beside: list[Block] = []
    if message["role"] == "assistant":
        beside = [{"type": "text", "text": text} for text in [message.get("refusal")] if text]
        beside += [_tool_use(call, f"{place}.tool_calls") for call in objects_in(message.get("tool_calls"))]
    if isinstance(content, str) and not beside:
        return content
    said = [] if beside and content in (None, "") else _blocks(content, f"{place}.content")
    return [*said, *beside]


def _tool_use(call: dict[str, Any], place: str) -> Block:
    if not isinstance(function := call.get("function"), dict):
        raise Untranslatable(f"{place}: the {API} API has only functions")
    arguments = function.get("arguments") or {}
    try:
        given = arguments if isinstance(arguments, dict) else msgspec.json.decode(arguments, type=dict[str, Any])
    except (msgspec.DecodeError, TypeError) as error:
        raise Untranslatable(f"{place}: has arguments that are no JSON object ({error})") from error
    return {"type": "tool_use", "id": call.get("id"), "name": function.get("name"), "input": given}


def _as_blocks(content: str | list[Block]) -> list[Block]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _blocks(content: Any, place: str) -> list[Block]:
    """A part of a type that chat does not know is a block of the API's own."""
    if isinstance(content, str):
        return _as_blocks(content)
    parts = ((_SHAPES.get(str(part.get("type"))), part, where) for where, part in parts_of(content, place))
    blocks = [part if shape is None else shape(part, where) for shape, part, where in parts]
    return [
        block for block in blocks if block.get("text") != ""
    ] or blocks  # an empty text block is an error there


def _image(part: Block, place: str) -> Block:
    url, _ = image_url(part, place)
    if (media := media_in(url)) is not None:
        return _with_source(part, "image", _base64(media))
    if url.startswith("data:"):
        raise Untranslatable(f"{place}.image_url: holds data that is not in base64")
    return _with_source(part, "image", {"type": "url", "url": url})


def _file(part: Block, place: str) -> Block:
    file = part.get("file")
    if not isinstance(file, dict):
        raise Untranslatable(f"{place}.file: is no object")
    title = {"title": file["filename"]} if file.get("filename") else {}
    if isinstance(file.get("file_id"), str):
        return {**_with_source(part, "document", {"type": "file", "file_id": file["file_id"]}), **title}
    media = media_in(str(file.get("file_data")))
    if media is None:
        raise Untranslatable(f'{place}.file: wants file_data as "data:application/pdf;base64,...", or a file_id')
    return {**_with_source(part, "document", _document(media, place)), **title}


def _document(media: DataUrl, place: str) -> Block:
    if not media.kind.startswith("text/"):
        return _base64(media)
    try:
        text = base64.b64decode(media.base64, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Untranslatable(f"{place}.file: holds no text ({error})") from error
    return {"type": "text", "media_type": "text/plain", "data": text}


def _base64(media: DataUrl) -> Block:
    kind = {"image/jpg": "image/jpeg"}.get(media.kind, media.kind)
    return {"type": "base64", "media_type": kind, "data": media.base64}


def _with_source(part: Block, kind: str, source: Block) -> Block:
    """What stands beside the media stays: cache_control."""
    beside = {name: value for name, value in part.items() if name not in {"image_url", "file"}}
    return {**beside, "type": kind, "source": source}


def _audio(_part: Block, place: str) -> Block:
    raise Untranslatable(f"{place}.input_audio: the {API} API takes no audio")


def _refusal(part: Block, _place: str) -> Block:
    return {"type": "text", "text": part.get("refusal")}


_SHAPES: Mapping[str, Callable[[Block, str], Block]] = {
    "image_url": _image,
    "file": _file,
    "input_audio": _audio,
    "refusal": _refusal,
}


def read_anthropic(parsed: dict[str, Any]) -> Answer:
    """What the object in a 200 means to whoever asked for a message."""
    if not isinstance(parsed.get("content"), list):
        return malformed("has no content", parsed)
    return Answer(verdict="ok", completion=_completion(parsed))


def _completion(parsed: dict[str, Any]) -> Completion:
    blocks = objects_in(parsed["content"])
    calls = [_call(block) for block in objects_in(blocks, "tool_use")]
    reason, usage = parsed.get("stop_reason"), parsed.get("usage")
    return Completion(
        served_model=string(parsed.get("model")),
        response=text_of(objects_in(blocks, "text"), "text"),
        reasoning="\n\n".join(_thoughts(blocks)) or None,
        tool_calls=msgspec.json.encode(calls).decode() if calls else None,
        finish_reason=_STOP_REASONS.get(reason, reason) if isinstance(reason, str) else None,
        usage=read_usage(parsed),
        refusal=_explanation(parsed.get("stop_details")) if reason == "refusal" else None,
        service_tier=string(usage.get("service_tier")) if isinstance(usage, dict) else None,
    )


def _thoughts(blocks: list[Block]) -> Iterator[str]:
    """What may be read of the thinking; the rest is encrypted."""
    for block in objects_in(blocks, "thinking"):
        if text := string(block.get("thinking")):
            yield text


def _call(block: Block) -> dict[str, Any]:
    """A call in chat's shape."""
    arguments = msgspec.json.encode(block.get("input")).decode()
    return {
        "id": block.get("id"),
        "type": "function",
        "function": {"name": block.get("name"), "arguments": arguments},
    }


def _explanation(details: Any) -> str | None:
    """Why the model refused, where it says."""
    if not isinstance(details, dict):
        return None
    return string(details.get("explanation")) or string(details.get("category"))


ANTHROPIC = Dialect(
    "messages",
    MappingProxyType({"anthropic-version": "2023-06-01"}),
    "x-api-key",
    write_anthropic,
    read_anthropic,
)
