"""Who may come in: decided on a request's head, before anything of its body is read.

A server on loopback is still in reach of every web page its user opens, so no page gets in: a page's requests name
their Origin, cannot name another Content-Type than forms have without asking first, and may have found their way
through a host name that somebody else owns.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from batchroute.errors import UsageFault

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batchroute.job.secrets import Secret

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
OPEN_PATHS = frozenset({"/health"})  # what a load balancer asks, who has no key
UPLOAD_PATH = "/v1/files"


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """Why a request does not get in."""

    status: int
    message: str
    code: str


@dataclass(frozen=True, slots=True)
class Door:
    """`hosts` are names the server answers to, `any_address`: and to addresses; `key` is what clients show."""

    hosts: frozenset[str]
    any_address: bool
    key: Secret | None

    def turned_away(self, method: str, path: str, headers: Mapping[str, str]) -> TurnedAway | None:
        """None for whoever may come in; `headers` are looked up whatever their case."""
        if not self._is_ours(headers.get("Host", "")):
            return TurnedAway(403, "this server does not go by that Host; allow it with --allow-host", "host")
        if "Origin" in headers:
            return TurnedAway(403, "web pages may not ask this server", "origin")
        if path not in OPEN_PATHS and not self._has_key(headers.get("Authorization", "")):
            return TurnedAway(401, "show the server's key: Authorization: Bearer KEY", "invalid_api_key")
        kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        wanted = "multipart/form-data" if path == UPLOAD_PATH else "application/json"
        if method == "POST" and kind != wanted:
            return TurnedAway(415, f"Content-Type must be {wanted}", "content_type")
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in self.hosts or (self.any_address and _is_address(name))

    def _has_key(self, authorization: str) -> bool:
        if self.key is None:
            return True
        scheme, _, shown = authorization.partition(" ")
        is_key = hmac.compare_digest(shown.strip().encode("utf-8", "replace"), self.key.reveal().encode())
        return is_key and scheme.lower() == "bearer"


def make_door(host: str, allowed: Iterable[str], key: Secret | None) -> Door:
    """The door of a server at `host`; UsageFault where it would stand open to others without a key."""
    if host in LOOPBACK:
        return Door(LOOPBACK | {name.lower() for name in allowed}, any_address=False, key=key)
    if key is None:
        raise UsageFault(f"on {host} others can reach it: name a variable with a key for them, --api-key-env NAME")
    own = {host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}
    return Door(LOOPBACK | own | {name.lower() for name in allowed}, any_address=True, key=key)


def _is_address(name: str) -> bool:
    """An address in numbers cannot be made to point elsewhere."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
