"""What is sent for a row: which API an endpoint speaks, and what tells one request from every other."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from batchroute.send.dialects.anthropic import ANTHROPIC
from batchroute.send.dialects.chat import CHAT, NOT_STREAMED
from batchroute.send.dialects.responses import RESPONSES

if TYPE_CHECKING:
    from batchroute.job.endpoint import EndpointSpec
    from batchroute.send.dialects.dialect import Dialect, WriteBody

FINGERPRINT_BYTES = 16
DIALECTS: dict[str, Dialect] = {"chat": CHAT, "responses": RESPONSES, "anthropic": ANTHROPIC}


def dialect_of(spec: EndpointSpec) -> Dialect:
    """The API that an endpoint speaks."""
    return DIALECTS[spec.api]


def open_body(spec: EndpointSpec) -> WriteBody:
    """Writes the bodies of an endpoint's requests."""
    return dialect_of(spec).write(spec.model, spec.sent_params)


def at_standard_tier(body: bytes) -> bytes:
    """The same request without its tier of service.

    That is the standard one wherever no other is set for the account. It has a name, too, but at each provider
    another: default, on_demand, standard_only.
    """
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    fields.pop("service_tier", None)
    return msgspec.json.encode(fields)


def fingerprint(body: bytes) -> bytes:
    """What tells a request's body, and so its model, from every other: two are the same if and only if this is.

    That none is to be streamed is no part of it: the bodies of older runs did not say so.
    """
    same = hashlib.blake2b(body.removesuffix(NOT_STREAMED), digest_size=FINGERPRINT_BYTES)
    if body.endswith(NOT_STREAMED):
        same.update(b"}")
    return same.digest()
