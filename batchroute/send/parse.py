"""The body of an answer -> JSON, however it is wrapped. Knows no meaning: what the JSON says is read elsewhere."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from batchroute.send.events import is_piece, is_stream, join_events, join_pieces

_KEEP_ALIVE = re.compile(r"(?:\s*:[^\n]*\n)*\s*")  # comment lines while the answer is on its way
_DECODER = json.JSONDecoder(strict=False)  # a line break may stand in a string as it is


def parse(body: bytes) -> Any:
    """The parsed body, None where it is not JSON; Python's own parser takes what the fast one refuses.

    An event stream is the answer it amounts to. A list of one is what is in it, as Google's errors come.
    """
    try:
        parsed = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        parsed = _parse_leniently(body)
    return parsed[0] if isinstance(parsed, list) and len(parsed) == 1 else parsed


def json_text(body: bytes) -> str:
    """The text of an answer, as JSON where it is any."""
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        parsed = _parse_leniently(body)
        if parsed is not None:
            return json.dumps(parsed, ensure_ascii=False)
    return body.decode("utf-8", "replace")


def _parse_leniently(body: bytes) -> Any:
    """What stands behind the first value is left out, as the answer has been paid."""
    try:
        text = body.decode(json.detect_encoding(body))  # which knows a byte order mark
        begin = _KEEP_ALIVE.match(text)
        text = text[begin.end() :] if begin else text
        return _without_lone_surrogates(join_events(text) if is_stream(text) else _first_value(text))
    except (ValueError, RecursionError):
        return None


def _first_value(text: str) -> Any:
    """What stands behind it is no part of an answer, unless it is the first piece of several."""
    value, end = _DECODER.raw_decode(text)
    values = [value]
    while is_piece(value) and (rest := text[end:].lstrip()):
        text = rest
        piece, end = _DECODER.raw_decode(text)
        values.append(piece)
    return join_pieces(values, is_done=False) if is_piece(value) else value


def _without_lone_surrogates(parsed: Any) -> Any:
    text = json.dumps(parsed, ensure_ascii=False)
    return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
