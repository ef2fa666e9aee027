"""The faults by name: each takes the flawless reply and damages it. Knows neither rates nor sockets.

A name is one of `FAULTS`, a code of `CODES` (`insufficient_quota`), a status (`503`; 3xx redirect), or `ok_CODE`:
a 200 whose body is an error object of that code.
"""

from __future__ import annotations

import gzip
import json
import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from batchroute.simulate.answers import Reply, error_reply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from batchroute.simulate.behaviour import Behaviour

    Fault: TypeAlias = Callable[[Reply, Behaviour], Reply]
    Edit: TypeAlias = Callable[[dict[str, Any], Behaviour], object]

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
    known = ", ".join([*FAULTS, *CODES])
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


def _message(answer: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = answer["choices"][0]["message"]
    return message


def _oversize(answer: dict[str, Any], behaviour: Behaviour) -> None:
    _message(answer)["content"] = "0" * int(behaviour.oversize_mb * 1e6)


def _lone_surrogate(answer: dict[str, Any], _behaviour: Behaviour) -> None:
    _message(answer)["content"] += "\ud83d"


def _usage_strings(answer: dict[str, Any], _behaviour: Behaviour) -> None:
    answer["usage"] = {name: str(count) for name, count in answer["usage"].items()}


def _gzip_bomb(reply: Reply, behaviour: Behaviour) -> Reply:
    whole = _edited("choices", _oversize, reply, behaviour)
    return replace(whole, body=gzip.compress(whole.body, 6), headers={"Content-Encoding": "gzip"})


_PAGE = b"<html><body><h1>Welcome</h1>A proxy's page.</body></html>"

FAULTS: Mapping[str, Fault] = {
    "reset": lambda _reply, _: Reply(0, delivery="reset"),
    "hang": lambda _reply, _: Reply(0, delivery="hang"),
    "cut": lambda reply, _: replace(reply, delivery="cut"),
    "stall": lambda reply, _: replace(reply, delivery="stall"),
    "slow": lambda reply, _: replace(reply, delivery="slow"),
    "endless": lambda reply, _: replace(reply, delivery="endless"),
    "content_type": lambda reply, _: replace(reply, content_type="text/plain"),
    "html": lambda _reply, _: Reply(200, _PAGE, content_type="text/html"),
    "truncated": lambda reply, _: replace(reply, body=reply.body[: len(reply.body) // 2]),
    "empty": lambda reply, _: replace(reply, body=b""),
    "not_utf8": lambda reply, _: replace(reply, body=reply.body.replace(b"[simulated]", b"[simulated \xff]")),
    "gzip_bomb": _gzip_bomb,
    # These edit a part of the answer's JSON; an answer without that part stays as it is.
    "no_choices": partial(_edited, "choices", lambda answer, _: answer.update(choices=[])),
    "null_content": partial(_edited, "choices", lambda answer, _: _message(answer).update(content=None)),
    "lone_surrogate": partial(_edited, "choices", _lone_surrogate),
    "oversize": partial(_edited, "choices", _oversize),
    "vectors_shuffled": partial(_edited, "data", lambda answer, _: answer["data"].reverse()),
    "vector_missing": partial(_edited, "data", lambda answer, _: answer["data"].pop()),
    "vector_short": partial(_edited, "data", lambda answer, _: answer["data"][0].update(embedding=[0.5])),
    "vector_nan": partial(_edited, "data", lambda answer, _: answer["data"][0].update(embedding=[math.nan] * 8)),
    "no_usage": partial(_edited, "usage", lambda answer, _: answer.pop("usage")),
    "usage_nulls": partial(
        _edited, "usage", lambda answer, _: answer.update(usage=dict.fromkeys(answer["usage"]))
    ),
    "usage_strings": partial(_edited, "usage", _usage_strings),
}
