"""The provider of the benchmark: as little work per request as Python can do, so that the client is measured.

A raw protocol that answers every POST with the same completion of about 1.5 KB, after `latency_s` to twice that.
Run it as a script: it prints {"port": N} and serves on loopback until its standard input closes. When the first
request is there it prints {"first_request_at": T}, T being Unix time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from typing import cast

import uvloop

ANSWER_CHARS = 1000
HEAD_END = b"\r\n\r\n"


def completion() -> bytes:
    """One HTTP answer, whole."""
    text = "All of it is made up, so that nothing has to be thought about. " * (ANSWER_CHARS // 63)
    body = {
        "id": "chatcmpl-benchmark",
        "object": "chat.completion",
        "created": 1_760_000_000,
        "model": "benchmark-model",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 211,
            "completion_tokens": 180,
            "total_tokens": 391,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "system_fingerprint": "fp_benchmark",
    }
    data = json.dumps(body, separators=(",", ":")).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


class Provider(asyncio.Protocol):
    """One connection: requests one after another, each with a Content-Length."""

    is_asked = False

    def __init__(self, answer: bytes, latency_s: float) -> None:
        self._answer = answer
        self._latency_s = latency_s
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        while (size := request_size(self._received)) is not None:
            if not Provider.is_asked:
                Provider.is_asked = True
                say({"first_request_at": time.time()})
            self._received = self._received[size:]
            self._reply()

    def _reply(self) -> None:
        if self._latency_s:
            delay_s = self._latency_s * (1 + random.random())  # noqa: S311 - a delay, not a secret
            asyncio.get_running_loop().call_later(delay_s, self._write)
        else:
            self._write()

    def _write(self) -> None:
        if self._transport is not None:
            self._transport.write(self._answer)


def request_size(received: bytes) -> int | None:
    """Bytes of the first request; None while it is not there as a whole."""
    end = received.find(HEAD_END)
    if end < 0:
        return None
    head = received[:end].lower()
    at = head.find(b"content-length:")
    body = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    size = end + len(HEAD_END) + body
    return size if len(received) >= size else None


def say(fact: dict[str, float]) -> None:
    sys.stdout.write(json.dumps(fact) + "\n")
    sys.stdout.flush()


async def serve(latency_s: float) -> None:
    answer, loop = completion(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: Provider(answer, latency_s), "127.0.0.1", 0, backlog=4096)
    say({"port": server.sockets[0].getsockname()[1]})
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--latency-s", type=float, default=0.0)
    uvloop.run(serve(arguments.parse_args().latency_s))
