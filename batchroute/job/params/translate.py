"""The params of an endpoint, or of one row, as fields of a body of the API that the endpoint speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchroute.job.params.anthropic import ANTHROPIC
from batchroute.job.params.responses import RESPONSES
from batchroute.job.params.words import Untranslatable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchroute.job.params.words import Fields, Wording

WORDINGS: Mapping[str, Wording] = {"responses": RESPONSES, "anthropic": ANTHROPIC}  # chat takes its own words


def translated(api: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that stand for `params`; the API's own words go before chat's. Nulls count as absent.

    Raises Untranslatable for the first that it cannot carry, naming it.
    """
    wording = WORDINGS[api]
    chats = [name for name in wording.rules if name in params]
    fields: dict[str, Any] = {}
    for name in (*chats, *sorted(params.keys() - wording.rules.keys())):
        fields = laid_over(wording, fields, _fields(api, name, params[name]))
    return fields


def untranslatable(api: str, params: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, what is wrong) of every param that the API cannot carry."""
    for name, value in params.items() if api in WORDINGS else ():
        try:
            _fields(api, name, value)
        except Untranslatable as fault:
            yield name, str(fault).removeprefix(f"{name}: ")


def laid_over(wording: Wording, fields: Fields, more: Fields) -> dict[str, Any]:
    """`more` over `fields`; of a table of the wording, entry by entry."""
    merged = {**fields, **more}
    for name in wording.tables & fields.keys() & more.keys():
        if isinstance(fields[name], dict) and isinstance(more[name], dict):
            merged[name] = {**fields[name], **more[name]}
    return merged


def _fields(api: str, name: str, value: Any) -> Fields:
    rule = WORDINGS[api].rules.get(name)
    if rule is None or value is None:
        return {} if value is None else {name: value}
    try:
        return rule(value)
    except Untranslatable as why:
        raise Untranslatable(f"{name}: the {api} API {why}") from None
