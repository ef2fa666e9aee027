"""The list of models. The provider answers in the name of any other one, too, and says so when asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchroute.simulate.answer import json_reply

if TYPE_CHECKING:
    from batchroute.simulate.answer import Reply

LISTED = "simulated"


def models(*, anthropic: bool) -> Reply:
    """The whole list, in the one shape or the other."""
    listed = [_model(LISTED, anthropic=anthropic)]
    if anthropic:
        return json_reply({"data": listed, "has_more": False, "first_id": LISTED, "last_id": LISTED})
    return json_reply({"object": "list", "data": listed})


def one_model(name: str, *, anthropic: bool) -> Reply:
    return json_reply(_model(name, anthropic=anthropic))


def _model(name: str, *, anthropic: bool) -> dict[str, Any]:
    if anthropic:
        dated = {"created_at": "1970-01-01T00:00:00Z", "lifecycle": "active"}
        return {"type": "model", "id": name, "display_name": name, **dated}
    return {"id": name, "object": "model", "created": 0, "owned_by": "batchroute"}
