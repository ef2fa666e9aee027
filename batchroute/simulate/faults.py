"""The faults by name: each takes the flawless reply and damages it. Knows neither rates nor sockets.

A name is one of `FAULTS` or of the tables in `EDITS`, a code of `CODES` (`insufficient_quota`), a status
(`503`; 3xx redirect), or `ok_CODE`: a 200 whose body is an error object of that code.
"""

from __future__ import annotations

import gzip
import json
import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from batchroute.simulate.reply import Reply, error_reply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from batchroute.simulate.behaviour import Behaviour
    from batchroute.simulate.reply import Delivery

    Fault: TypeAlias = Callable[[Reply, Behaviour], Reply]
    Edit: TypeAlias = Callable[[dict[str, Any], Behaviour], None]

REDIRECT_TARGET = "/elsewhere"  # a client that follows a redirect is seen in Stats.by_route

CODES: Mapping[str, int] = {
    "invalid_api_key": 401,
    "insufficient_quota": 429,
    "billing_hard_limit_reached": 400,
    "rate_limit_exceeded": 429,
    "slow_down": 503,
    "model_not_found": 404,
    "context_length_exceeded": 400,
    "content_filter": 400,
    "content_policy_violation": 400,
    "invalid_request_error": 400,
    "permission_denied": 403,
    "account_deactivated": 403,
    "server_error": 500,
    "overloaded_error": 529,
}

USUAL_CODE: Mapping[int, str] = {404: "model_not_found", 429: "rate_limit_exceeded", 500: "server_error"}


def find(name: str) -> Fault | None:
    """The fault of that name, None where there is none."""
    if name in FAULTS:
        return FAULTS[name]
    for part, edits in EDITS.items():
        if name in edits:
            return partial(_edited, part, edits[name])
    if name in CODES:
        return partial(_refused, CODES[name], name)
    if name.startswith("ok_"):
        return partial(_refused, 200, name.removeprefix("ok_"))
    if len(name) == 3 and name.isdecimal() and "300" <= name <= "599":
        return partial(_redirected if name[0] == "3" else _refused, int(name), USUAL_CODE.get(int(name)))
    return None


def unknown(names: Mapping[str, float]) -> str | None:
    """The message for faults that do not exist; None if all do."""
    missing = sorted(name for name in names if find(name) is None)
    if not missing:
        return None
    known = ", ".join([*FAULTS, *(name for edits in EDITS.values() for name in edits), *CODES])
    return f"no such fault: {', '.join(missing)}; there are {known}, statuses (503) and ok_CODE"


def retry_after(seconds: float | None) -> dict[str, str]:
    """The headers that ask for a wait: whole seconds rounded up, and the exact milliseconds."""
    if seconds is None:
        return {}
    return {"Retry-After": str(math.ceil(seconds)), "retry-after-ms": str(math.ceil(seconds * 1000))}


def _refused(status: int, code: str | None, reply: Reply, behaviour: Behaviour) -> Reply:
    headers = retry_after(behaviour.retry_after_s) if status == 429 else {}
    return error_reply(status, code, f"Simulated error {status}: {code or 'no code'}.", headers)


def _redirected(status: int, code: str | None, reply: Reply, behaviour: Behaviour) -> Reply:
    return Reply(status, headers={"Location": REDIRECT_TARGET})


def _never_sent(delivery: Delivery, reply: Reply, behaviour: Behaviour) -> Reply:
    return Reply(0, delivery=delivery)


def _delivered(delivery: Delivery, reply: Reply, behaviour: Behaviour) -> Reply:
    return replace(reply, delivery=delivery)


def _mislabelled(reply: Reply, behaviour: Behaviour) -> Reply:
    return replace(reply, content_type="text/plain")


def _html(reply: Reply, behaviour: Behaviour) -> Reply:
    return Reply(200, b"<html><body><h1>Welcome</h1>A proxy's page.</body></html>", content_type="text/html")


def _truncated(reply: Reply, behaviour: Behaviour) -> Reply:
    return replace(reply, body=reply.body[: len(reply.body) // 2])


def _empty(reply: Reply, behaviour: Behaviour) -> Reply:
    return replace(reply, body=b"")


def _not_utf8(reply: Reply, behaviour: Behaviour) -> Reply:
    return replace(reply, body=reply.body.replace(b"[simulated]", b"[simulated \xff]"))


def _gzip_bomb(reply: Reply, behaviour: Behaviour) -> Reply:
    whole = _edited("choices", _oversize, reply, behaviour)
    return replace(whole, body=gzip.compress(whole.body, 6), headers={"Content-Encoding": "gzip"})


FAULTS: Mapping[str, Fault] = {
    "reset": partial(_never_sent, "reset"),
    "hang": partial(_never_sent, "hang"),
    "cut": partial(_delivered, "cut"),
    "stall": partial(_delivered, "stall"),
    "slow": partial(_delivered, "slow"),
    "endless": partial(_delivered, "endless"),
    "content_type": _mislabelled,
    "html": _html,
    "truncated": _truncated,
    "empty": _empty,
    "not_utf8": _not_utf8,
    "gzip_bomb": _gzip_bomb,
}


def _edited(part: str, edit: Edit, reply: Reply, behaviour: Behaviour) -> Reply:
    """The reply with that part edited, if it has one and is no stream.

    By json, as msgspec writes no lone surrogates and no NaN.
    """
    if reply.delivery == "events":
        return reply
    answer = json.loads(reply.body)
    if part not in answer:
        return reply
    edit(answer, behaviour)
    return replace(reply, body=json.dumps(answer).encode())


def _oversize(answer: dict[str, Any], behaviour: Behaviour) -> None:
    answer["choices"][0]["message"]["content"] = "0" * int(behaviour.oversize_mb * 1e6)


def _no_choices(answer: dict[str, Any], behaviour: Behaviour) -> None:
    answer["choices"] = []


def _null_content(answer: dict[str, Any], behaviour: Behaviour) -> None:
    answer["choices"][0]["message"]["content"] = None


def _lone_surrogate(answer: dict[str, Any], behaviour: Behaviour) -> None:
    answer["choices"][0]["message"]["content"] += "\ud83d"


def _no_usage(answer: dict[str, Any], behaviour: Behaviour) -> None:
    del answer["usage"]


def _usage_nulls(answer: dict[str, Any], behaviour: Behaviour) -> None:
    answer["usage"] = dict.fromkeys(answer["usage"])


def _usage_strings(answer: dict[str, Any], behaviour: Behaviour) -> None:
    answer["usage"] = {name: str(value) for name, value in answer["usage"].items()}


def _vectors_shuffled(answer: dict[str, Any], behaviour: Behaviour) -> None:
    answer["data"].reverse()


def _vector_missing(answer: dict[str, Any], behaviour: Behaviour) -> None:
    del answer["data"][-1]


def _vector_short(answer: dict[str, Any], behaviour: Behaviour) -> None:
    answer["data"][0]["embedding"] = [0.5]


def _vector_nan(answer: dict[str, Any], behaviour: Behaviour) -> None:
    answer["data"][0]["embedding"] = [math.nan] * 8


EDITS: Mapping[str, Mapping[str, Edit]] = {
    "choices": {
        "no_choices": _no_choices,
        "null_content": _null_content,
        "lone_surrogate": _lone_surrogate,
        "oversize": _oversize,
    },
    "data": {
        "vectors_shuffled": _vectors_shuffled,
        "vector_missing": _vector_missing,
        "vector_short": _vector_short,
        "vector_nan": _vector_nan,
    },
    "usage": {
        "no_usage": _no_usage,
        "usage_nulls": _usage_nulls,
        "usage_strings": _usage_strings,
    },
}
