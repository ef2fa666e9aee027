"""The bodies of an API that words what chat says in its own way: params by a table, messages by a function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from batchroute.job.params.translate import WORDINGS, laid_over, translated
from batchroute.job.params.words import Untranslatable
from batchroute.job.rules import longest_output
from batchroute.send.dialects.dialect import NOTHING, Body

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchroute.types import Prompt

    Message: TypeAlias = dict[str, Any]
    Conversation: TypeAlias = Callable[[list[Message], Mapping[str, Any]], Mapping[str, Any]]


class TranslatedBody:
    """Writes the bodies of one endpoint; the row's fields go over the endpoint's.

    `conversation` makes fields of the messages, given the others. Params in another order make the same bytes.
    """

    def __init__(
        self, api: str, model: str, params: Mapping[str, Any], bound: str, conversation: Conversation
    ) -> None:
        """`bound` is the field that bounds an answer."""
        self._api = api
        self._wording = WORDINGS[api]
        self._fields = {**self._wording.defaults, **translated(api, params), "model": model}
        self._bound = bound
        self._conversation = conversation

    def __call__(self, prompt: Prompt) -> Body:
        try:
            fields = self._fields_of(prompt)
            fields |= self._conversation(msgspec.json.decode(prompt.messages), fields)
        except Untranslatable as reason:
            return NOTHING._replace(refusal=str(reason))
        longest = longest_output({self._bound: fields.get(self._bound)})
        return Body(msgspec.json.encode(dict(sorted(fields.items()))), longest)

    def _fields_of(self, prompt: Prompt) -> dict[str, Any]:
        fields: Mapping[str, Any] = self._fields
        if prompt.params:
            fields = laid_over(self._wording, fields, translated(self._api, _decoded(prompt.params)))
        return self._wording.settle(dict(fields))


def _decoded(params: dict[str, Any]) -> dict[str, Any]:
    """A server's client has sent them as JSON, of which only the fields that routing needs are read yet."""
    if not any(isinstance(value, msgspec.Raw) for value in params.values()):
        return params
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(params))
    return decoded
