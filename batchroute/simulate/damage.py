"""How a reply is damaged: the ways that the table of faults is written in. Knows no names and no rates."""

from __future__ import annotations

import gzip
import json
import math
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from batchroute.simulate.answer import Reply, event_stream, json_reply, refused, reply_to

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from batchroute.simulate.answer import Delivery
    from batchroute.simulate.behaviour import Behaviour

    Fault: TypeAlias = Callable[[Reply, Behaviour], Reply]
    Edit: TypeAlias = Callable[[dict[str, Any], Behaviour], object]

REDIRECT_TARGET = "/elsewhere"  # a client that follows a redirect is seen in Stats.by_route


def error(status: int, code: str | None, message: str | None = None, *, waits: bool = True) -> Fault:
    """An error of the provider's; a 429 says how long to wait in its headers, where it `waits`."""
    text = message or f"Simulated error {status}: {code or 'no code'}."

    def fault(reply: Reply, behaviour: Behaviour) -> Reply:
        headers = retry_after(behaviour.retry_after_s) if status == 429 and waits else {}
        return refused(status, code, text, headers)

    return fault


def retry_after(seconds: float | None) -> dict[str, str]:
    """The headers that ask for a wait: whole seconds rounded up, and the exact milliseconds."""
    if seconds is None:
        return {}
    return {"Retry-After": str(math.ceil(seconds)), "retry-after-ms": str(math.ceil(seconds * 1000))}


def redirect(status: int) -> Fault:
    return lambda _reply, _: Reply(status, headers={"Location": REDIRECT_TARGET})


def says(value: object, status: int = 200) -> Fault:
    """That JSON instead of an answer, in whatever dialect; it is billed nothing."""
    return lambda _reply, _: replace(json_reply(value), status=status)


def delivered(delivery: Delivery) -> Fault:
    """The reply, sent in another way."""
    return lambda reply, _: replace(reply, delivery=delivery)


def answers(**changes: Any) -> Fault:
    """Another answer than the one composed, in whatever dialect, whole or as a stream; it is billed the same."""

    def fault(reply: Reply, behaviour: Behaviour) -> Reply:
        if reply.question is None or reply.answer is None:
            return reply
        return reply_to(reply.question, replace(reply.answer, **{"text": None, "call": None, **changes}))

    return fault


def other_model(reply: Reply, behaviour: Behaviour) -> Reply:
    """Another model answers, and is billed."""
    if reply.question is None or reply.answer is None:
        return reply
    bill = replace(reply.answer.bill, model=behaviour.other_model)
    return reply_to(reply.question, replace(reply.answer, bill=bill))


def unasked_events(reply: Reply, behaviour: Behaviour) -> Reply:
    """A stream, asked for or not."""
    if reply.question is None or reply.answer is None:
        return reply
    return event_stream(reply.question, reply.answer)


def edited(part: str, edit: Edit) -> Fault:
    """The reply with that part of its JSON edited, if it has one and is no stream."""

    def fault(reply: Reply, behaviour: Behaviour) -> Reply:
        if reply.delivery == "events":
            return reply
        # By json, as msgspec writes no lone surrogates and no NaN.
        answer = json.loads(reply.body)
        if part not in answer:
            return reply
        edit(answer, behaviour)
        return replace(reply, body=json.dumps(answer).encode())

    return fault


def choice(**changes: Any) -> Fault:
    """The choices of a chat completion with these keys, without those that are `...`."""

    def edit(answer: dict[str, Any], _behaviour: Behaviour) -> None:
        changed = [{**choice, **changes} for choice in answer["choices"]]
        answer["choices"] = [{k: value for k, value in choice.items() if value is not ...} for choice in changed]

    return edited("choices", edit)


def content(value: Any) -> Fault:
    """The messages of a chat completion with that content."""
    return edited("choices", lambda answer, _: [c["message"].update(content=value) for c in answer["choices"]])


def failed_choice(code: int) -> Fault:
    """A gateway's answer in which the choice is an error."""
    said = {"code": code, "message": f"Simulated: the provider behind this gateway answered {code}."}
    return choice(error=said, finish_reason="error", message={"role": "assistant", "content": ""})


def oversize(answer: dict[str, Any], behaviour: Behaviour) -> None:
    answer["choices"][0]["message"]["content"] = "0" * int(behaviour.oversize_mb * 1e6)


def gzip_bomb(reply: Reply, behaviour: Behaviour) -> Reply:
    whole = edited("choices", oversize)(reply, behaviour)
    return replace(whole, body=gzip.compress(whole.body, 6), headers={"Content-Encoding": "gzip"})


def usage(**changes: Any) -> Fault:
    """The usage with these keys, in whatever dialect."""
    return edited("usage", lambda answer, _: answer["usage"].update(changes))


def each_count(spell: Callable[[int], object]) -> Fault:
    """The counts of the usage spelled in another way, its details left out."""

    def edit(answer: dict[str, Any], _behaviour: Behaviour) -> None:
        counts = {name: count for name, count in answer["usage"].items() if isinstance(count, int)}
        answer["usage"] = {name: spell(count) for name, count in counts.items()}

    return edited("usage", edit)


def reasoning_beside(*, said: bool) -> Fault:
    """Reasoning counted beside the completion, so that only the total has it; its own count is `said` or not.

    Half of the completion is taken for reasoning where there is none. What is billed stays the same.
    """

    def edit(answer: dict[str, Any], _behaviour: Behaviour) -> None:
        usage = answer["usage"]
        for output in {"completion_tokens", "output_tokens"} & set(usage):
            details = usage.pop(f"{output}_details", {})
            hidden = details.get("reasoning_tokens") or usage[output] // 2
            usage[output] -= hidden
            if said:
                usage[f"{output}_details"] = {"reasoning_tokens": hidden}

    return edited("usage", edit)


def cached_as(spell: Callable[[int, int, int], dict[str, int]]) -> Fault:
    """What a chat completion says of its prompt, cached and written tokens, spelled as another provider does."""

    def edit(answer: dict[str, Any], _behaviour: Behaviour) -> None:
        usage = answer["usage"]
        details = usage.pop("prompt_tokens_details", None)
        if details is not None:
            written = details.get("cache_write_tokens", 0)
            usage.update(spell(usage["prompt_tokens"], details["cached_tokens"], written))

    return edited("usage", edit)


def own_cost(reply: Reply, behaviour: Behaviour) -> Reply:
    """The provider names the cost, and bills it."""
    cost_usd = behaviour.own_cost_usd
    told = usage(cost=cost_usd)(reply, behaviour)
    return (
        told if told is reply or told.bill is None else replace(told, bill=replace(told.bill, cost_usd=cost_usd))
    )
