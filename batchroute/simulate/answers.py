"""Requests as a provider validates them, and the flawless answers to them; knows no limits and no faults."""

from __future__ import annotations

import base64
import hashlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import numpy as np

from batchroute.types import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from numpy.typing import NDArray

    from batchroute.simulate.behaviour import Behaviour


Delivery = Literal["whole", "events", "reset", "cut", "slow", "endless", "stall", "hang"]
Role = Literal["system", "developer", "user", "assistant", "tool", "function"]
Name = Annotated[str, msgspec.Meta(min_length=1)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Text = Annotated[str, msgspec.Meta(min_length=1)]
TOKENS_PER_TEXT = 8191  # of text-embedding-3-small; a longer text is refused
TOKENS_PER_REQUEST = 300_000  # of all the texts to embed
CHUNK_CHARS = 40  # of a stream's pieces
FILL = "The words from here on are padding that brings the text to the length its usage claims. "


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `usage` is what a provider would bill for it, None where it bills nothing.

    A `status` of 0 means that no status line is ever sent; `after_s` is how long the client is kept waiting.
    """

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    delivery: Delivery = "whole"
    after_s: float = 0.0
    usage: Usage | None = None


def json_reply(value: object) -> Reply:
    """200 with `value` as JSON."""
    return Reply(200, msgspec.json.encode(value))


def error_reply(status: int, code: str | None, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    """An error object as OpenAI shapes it."""
    error = {"message": message, "type": _kind(status), "param": None, "code": code}
    return Reply(status, msgspec.json.encode({"error": error}), headers=headers or {})


def _kind(status: int) -> str:
    if status == 429:
        return "requests"
    return "invalid_request_error" if 400 <= status < 500 else "server_error"


class Part(msgspec.Struct):
    type: str
    text: str = ""


class Message(msgspec.Struct):
    role: Role
    content: str | list[Part] | None = None

    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class StreamOptions(msgspec.Struct):
    include_usage: bool = False


class ChatBody(msgspec.Struct):
    """The fields of a chat completion request that change the answer."""

    model: Name
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    def texts(self) -> list[str]:
        return [self.messages[-1].text()]

    def characters(self) -> int:
        return sum(len(message.text()) for message in self.messages)


class EmbeddingBody(msgspec.Struct):
    """The fields of an embeddings request."""

    model: Name
    input: Text | Annotated[list[Text], msgspec.Meta(min_length=1, max_length=2048)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=1536)] | None = None

    def texts(self) -> list[str]:
        return [self.input] if isinstance(self.input, str) else self.input


_CHAT = msgspec.json.Decoder(ChatBody)
_EMBED = msgspec.json.Decoder(EmbeddingBody)


def read_chat(body: bytes) -> ChatBody:
    """ValueError says what a provider would not accept."""
    request = _CHAT.decode(body)
    if request.stream_options is not None and not request.stream:
        raise ValueError("`stream_options` is only allowed when `stream` is true")
    return request


def read_embed(body: bytes, behaviour: Behaviour) -> EmbeddingBody:
    """ValueError says what a provider would not accept."""
    request = _EMBED.decode(body)
    lengths = [len(text) / behaviour.characters_per_token for text in request.texts()]
    if max(lengths) > TOKENS_PER_TEXT:
        raise ValueError(f"this model takes at most {TOKENS_PER_TEXT} tokens a text: shorten the input")
    if sum(lengths) > TOKENS_PER_REQUEST:
        raise ValueError(f"this model takes at most {TOKENS_PER_REQUEST} tokens a request: send fewer texts")
    if request.encoding_format == "base64" and behaviour.base64_vectors == "refused":
        raise ValueError("this server does not know the encoding_format base64")
    return request


def complete(request: ChatBody, draw: float, number: int, behaviour: Behaviour) -> Reply:
    """A completion of the request; `draw` in [0, 1) sets its length, `number` its id."""
    usage, finish_reason = _usage(request, draw, behaviour)
    text = _text(request.model, usage)
    head = {
        "id": f"chatcmpl-simulated-{number:012x}",
        "object": "chat.completion.chunk" if request.stream else "chat.completion",
        "created": int(time.time()),
        "model": request.model,
        "system_fingerprint": "fp_simulated",
    }
    if request.stream:
        events = b"".join(_events(request, head, text, finish_reason, usage))
        return Reply(200, events, "text/event-stream; charset=utf-8", delivery="events", usage=usage)
    choice = {"logprobs": None, "finish_reason": finish_reason}
    choices = [
        {"index": i, "message": {"role": "assistant", "content": text, "refusal": None}, **choice}
        for i in range(request.n or 1)
    ]
    answer = {**head, "choices": choices, "usage": _usage_json(usage)}
    return Reply(200, msgspec.json.encode(answer), usage=usage)


def _events(
    request: ChatBody, head: dict[str, Any], text: str, finish_reason: str, usage: Usage
) -> Iterator[bytes]:
    """The answer as a stream of chunks, choice after choice; the last has the usage where that was asked for."""
    with_usage = request.stream_options is not None and request.stream_options.include_usage
    beside = {"usage": None} if with_usage else {}
    for i in range(request.n or 1):
        deltas = [{"content": text[start : start + CHUNK_CHARS]} for start in range(0, len(text), CHUNK_CHARS)]
        for delta in ({"role": "assistant", "content": ""}, *deltas, {}):
            choice = {"index": i, "delta": delta, "finish_reason": None if delta else finish_reason}
            yield _event({**head, "choices": [choice], **beside})
    if with_usage:
        yield _event({**head, "choices": [], "usage": _usage_json(usage)})
    yield b"data: [DONE]\n\n"


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def _usage(request: ChatBody, draw: float, behaviour: Behaviour) -> tuple[Usage, str]:
    """The whole request's usage, and how every one of its choices ends."""
    # response_tokens = 150 and a draw of 0.25 make 112 tokens, a draw of 0.99 makes 223; with max_tokens = 200 the
    # first ends with "stop" and the second, cut to 200, with "length". Reasoning comes on top and counts, too.
    cap = (request.max_completion_tokens or request.max_tokens) if behaviour.honour_max_tokens else None
    wanted = max(1, int(behaviour.response_tokens * (0.5 + draw))) + behaviour.reasoning_tokens
    tokens = wanted if cap is None else min(cap, wanted)
    usage = Usage(
        prompt_tokens=max(1, int(request.characters() / behaviour.characters_per_token)),
        cached_tokens=0,
        completion_tokens=tokens * (request.n or 1),
        reasoning_tokens=min(behaviour.reasoning_tokens, tokens) * (request.n or 1),
    )
    return usage, "length" if tokens < wanted else "stop"


def _text(model: str, usage: Usage) -> str:
    """About four characters a visible token; what marks it as simulated is never cut off."""
    notice = f"[simulated] No model was asked; this stands in for an answer of {model}. "
    # As if each token were four characters, so that the length of a text agrees with what is billed for it.
    missing = 4 * ((usage.completion_tokens or 0) - (usage.reasoning_tokens or 0)) - len(notice)
    return notice + (FILL * (missing // len(FILL) + 1))[:missing] if missing > 0 else notice


def _usage_json(usage: Usage) -> dict[str, Any]:
    prompt_tokens, completion_tokens = usage.prompt_tokens or 0, usage.completion_tokens or 0
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens, "audio_tokens": 0},
    }


def embed(request: EmbeddingBody, behaviour: Behaviour) -> Reply:
    """One unit vector per text, a function of the text alone."""
    texts = request.texts()
    vectors = [unit_vector(text, request.dimensions or 1536) for text in texts]
    as_base64 = request.encoding_format == "base64" and behaviour.base64_vectors == "offered"
    embeddings = [_base64(vector) if as_base64 else vector.tolist() for vector in vectors]
    data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(embeddings)]
    tokens = sum(max(1, int(len(text) / behaviour.characters_per_token)) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    body = {"object": "list", "data": data, "model": request.model, "usage": usage}
    return Reply(200, msgspec.json.encode(body), usage=Usage(prompt_tokens=tokens))


def unit_vector(text: str, dimensions: int) -> NDArray[np.float32]:
    """[dimensions] float32 of length 1."""
    # The same text has the same vector in every process: Python's own hash is salted.
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    vector = np.random.default_rng(seed).standard_normal(dimensions)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def _base64(vector: NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def models() -> Reply:
    """The list of models; the provider answers in the name of any other one too."""
    listed = [{"id": "simulated", "object": "model", "created": 0, "owned_by": "batchroute"}]
    return json_reply({"object": "list", "data": listed})
