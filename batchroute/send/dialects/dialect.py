"""What a lane has to know of an API: where a request goes, how it is written, how its answer is read.

Values only; knows no network, no prices and no endpoint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchroute.send.classify import Read
    from batchroute.types import Prompt


class Body(NamedTuple):
    """A row's request body; `longest` is the most tokens its answer may have, 0 where nothing bounds it.

    `refusal` names what of the row the API cannot carry; there is nothing to send then. `identity` has what tells
    the request from others, where that is not what is sent.
    """

    sent: bytes
    longest: int
    refusal: str | None = None
    identity: bytes = b""


NOTHING = Body(b"", 0)  # of a row that is not sent


class WriteBody(Protocol):
    """Writes the bodies of one endpoint, whose model and params it knows."""

    def __call__(self, prompt: Prompt) -> Body: ...


class Dialect(NamedTuple):
    """One API.

    `path` stands behind an endpoint's base_url, `headers` are sent with every request, `key_header` takes the key
    (None: as a bearer token). `write` is given a model and an endpoint's params, `read` the object of a 200 that
    is no error.
    """

    path: str
    headers: Mapping[str, str]
    key_header: str | None
    write: Callable[[str, Mapping[str, Any]], WriteBody]
    read: Read
