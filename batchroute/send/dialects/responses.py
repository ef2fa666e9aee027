"""OpenAI's /v1/responses: chat messages -> input items, output items -> a completion.

Pure functions on values; what an error means stands in `classify`. Source: the types of openai-python 3.57
(`types/responses`).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from batchroute.job.params.words import Untranslatable
from batchroute.send.classify import Answer, malformed
from batchroute.send.dialects.dialect import Dialect
from batchroute.send.dialects.fields import objects_in, string, text_of
from batchroute.send.dialects.parts import SYSTEM_ROLES, image_url, parts_of, refuse_name
from batchroute.send.dialects.translated import TranslatedBody
from batchroute.send.fault import Fault
from batchroute.send.usage import read_usage
from batchroute.types import Completion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from batchroute.send.dialects.dialect import WriteBody

    Part = Callable[[dict[str, Any], str], dict[str, Any]]

API = "responses"
_ROLES = SYSTEM_ROLES | {"user", "assistant"}
_CUT = {"max_output_tokens": "length", "content_filter": "content_filter"}


def write_responses(model: str, params: Mapping[str, Any]) -> WriteBody:
    """Writes the bodies of one endpoint."""
    return TranslatedBody(API, model, params, "max_output_tokens", _conversation)


def _conversation(messages: list[dict[str, Any]], _fields: Mapping[str, Any]) -> dict[str, Any]:
    custom: set[str] = set()  # the ids of calls to custom tools: their results are items of another type
    return {"input": [item for index, message in enumerate(messages) for item in _items(message, index, custom)]}


def _items(message: dict[str, Any], index: int, custom: set[str]) -> Iterator[dict[str, Any]]:
    """A message, then the calls that it makes; each is an item of its own."""
    place, role, content = f"messages[{index}]", message["role"], message.get("content")
    refuse_name(message, place, API)
    if role == "tool":
        call_id = message.get("tool_call_id")
        kind = "custom_tool_call_output" if str(call_id) in custom else "function_call_output"
        yield {"type": kind, "call_id": call_id, "output": _content(content, f"{place}.content", _INPUT)}
        return
    if role not in _ROLES:
        raise Untranslatable(f"{place}.role: the {API} API has no role {role!r}")
    if role != "assistant":
        yield {"role": role, "content": _content(content, f"{place}.content", _INPUT)}
        return
    said = [] if content is None else _content(content, f"{place}.content", _OUTPUT)
    if message.get("refusal"):
        said = [] if isinstance(said, str) else said
        said = [*said, {"type": "refusal", "refusal": message["refusal"]}]
    if said:
        yield {"role": role, "content": said}
    for call in objects_in(message.get("tool_calls")):
        yield _call_item(call, f"{place}.tool_calls", custom)


def _call_item(call: dict[str, Any], place: str, custom: set[str]) -> dict[str, Any]:
    if isinstance(own := call.get("custom"), dict):
        custom.add(str(call.get("id")))
        return {
            "type": "custom_tool_call",
            "call_id": call.get("id"),
            "name": own.get("name"),
            "input": own.get("input"),
        }
    if not isinstance(function := call.get("function"), dict):
        raise Untranslatable(f"{place}: holds a call that is neither a function's nor a custom tool's")
    arguments = function.get("arguments") or {}
    given = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
    return {"type": "function_call", "call_id": call.get("id"), "name": function.get("name"), "arguments": given}


def _content(content: Any, place: str, kinds: Mapping[str, Part]) -> Any:
    """Text, or parts in this API's shapes; a part of a type that chat does not know is the API's own."""
    if isinstance(content, str):
        return content
    translated = ((kinds.get(str(part.get("type"))), part, where) for where, part in parts_of(content, place))
    return [part if shape is None else shape(part, where) for shape, part, where in translated]


def _flat(kind: str) -> Part:
    return lambda part, _place: {**part, "type": kind}


def _image(part: dict[str, Any], place: str) -> dict[str, Any]:
    url, detail = image_url(part, place)
    return {**part, "type": "input_image", "image_url": url, "detail": detail or "auto"}


def _file(part: dict[str, Any], place: str) -> dict[str, Any]:
    if not isinstance(file := part.get("file"), dict):
        raise Untranslatable(f"{place}.file: is no object")
    return {**{name: value for name, value in part.items() if name != "file"}, "type": "input_file", **file}


def _audio(_part: dict[str, Any], place: str) -> dict[str, Any]:
    raise Untranslatable(f"{place}.input_audio: the {API} API takes no audio")


_INPUT: Mapping[str, Part] = {
    "text": _flat("input_text"),
    "image_url": _image,
    "file": _file,
    "input_audio": _audio,
}
_OUTPUT: Mapping[str, Part] = {**_INPUT, "text": _flat("output_text")}


def read_responses(parsed: dict[str, Any]) -> Answer | Fault:
    """What the object in a 200 means to whoever asked for a response; one that failed may not say why."""
    status, output = parsed.get("status"), parsed.get("output")
    if status in ("failed", "cancelled"):
        return Fault((), f"the response has the status {status!r}")
    if status not in (None, "completed", "incomplete"):
        return malformed(f"has the status {status!r}", parsed)
    if not isinstance(output, list):
        return malformed("has no output", parsed)
    return Answer(verdict="ok", completion=_completion(parsed))


def _completion(parsed: dict[str, Any]) -> Completion:
    output = objects_in(parsed["output"])
    said = [part for item in objects_in(output, "message") for part in objects_in(item.get("content"))]
    refusal = text_of(objects_in(said, "refusal"), "refusal")
    calls = [call for item in output if (call := _call(item)) is not None]
    return Completion(
        served_model=string(parsed.get("model")),
        response=text_of(objects_in(said, "output_text"), "text"),
        reasoning=_reasoning(objects_in(output, "reasoning")),
        tool_calls=msgspec.json.encode(calls).decode() if calls else None,
        finish_reason=_finish_reason(parsed, refused=refusal is not None, calls=bool(calls)),
        usage=read_usage(parsed),
        refusal=refusal,
        service_tier=string(parsed.get("service_tier")),
    )


def _call(item: dict[str, Any]) -> dict[str, Any] | None:
    """A call in chat's shape; None for an item that is none."""
    head, name = {"id": item.get("call_id")}, item.get("name")
    if item.get("type") == "function_call":
        return {**head, "type": "function", "function": {"name": name, "arguments": item.get("arguments")}}
    if item.get("type") == "custom_tool_call":
        return {**head, "type": "custom", "custom": {"name": name, "input": item.get("input")}}
    return None


def _reasoning(items: list[dict[str, Any]]) -> str | None:
    """The summaries, which are what OpenAI shows of it, else the text itself, which open models send."""
    texts = [
        text_of(objects_in(item.get("summary")), "text") or text_of(objects_in(item.get("content")), "text")
        for item in items
    ]
    return "\n\n".join(text for text in texts if text) or None


def _finish_reason(parsed: dict[str, Any], *, refused: bool, calls: bool) -> str:
    if parsed.get("status") == "incomplete":
        details = parsed.get("incomplete_details")
        reason = str(details.get("reason")) if isinstance(details, dict) else "incomplete"
        return _CUT.get(reason, reason)
    if refused:
        return "refusal"
    return "tool_calls" if calls else "stop"


RESPONSES = Dialect("responses", MappingProxyType({}), None, write_responses, read_responses)
