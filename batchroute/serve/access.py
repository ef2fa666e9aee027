"""Who may use the server: decided on a request's head, before any of its body is read. Knows no sockets.

A server on loopback is within reach of every web page that its user opens, and pages are not to spend the user's
money. Three rules keep them out, and each closes what the others leave open. Say the server is at 127.0.0.1:6060
and the user opens https://evil.example:

1. The page runs `fetch("http://127.0.0.1:6060/v1/chat/completions", {method: "POST", body})`. The browser adds
   `Origin: https://evil.example`, which a page can neither leave out nor change: 403. Other clients send none.
2. Forms, and pages in old browsers, may send no Origin. But they can only have the three content types of forms:
   for any other the browser asks first (a CORS preflight, OPTIONS), and the server grants nothing. So a POST must
   say `application/json`: 415. Uploads are forms, as OpenAI's are; they only store a file.
3. The page's owner points the name evil.example at 127.0.0.1 once the page is loaded (DNS rebinding). For the
   browser the server is now the page's own origin: a GET has no Origin, any content type goes, answers can be
   read. But the request still says `Host: evil.example:6060`, which is not a name of this server: 403.

On any other address than loopback clients must show a key as well.
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
OPEN_PATHS = frozenset({"/health"})  # asked by load balancers, which have no key
UPLOAD_PATH = "/v1/files"


@dataclass(frozen=True, slots=True)
class Denied:
    """Why a request is not served."""

    status: int
    message: str
    code: str


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """`hosts` are the server's names; `any_address`: it answers to addresses, too; clients must show `key`."""

    hosts: frozenset[str]
    any_address: bool
    key: Secret | None

    def denies(self, method: str, path: str, headers: Mapping[str, str]) -> Denied | None:
        """None for a request that is served; `headers` are looked up whatever their case."""
        if not self._is_ours(headers.get("Host", "")):
            return Denied(403, "this server does not go by that Host; allow it with --allow-host", "host")
        if "Origin" in headers:
            return Denied(403, "web pages may not ask this server", "origin")
        if path not in OPEN_PATHS and not self._has_key(headers.get("Authorization", "")):
            return Denied(401, "show the server's key: Authorization: Bearer KEY", "invalid_api_key")
        kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        wanted = "multipart/form-data" if path == UPLOAD_PATH else "application/json"
        if method == "POST" and kind != wanted:
            return Denied(415, f"Content-Type must be {wanted}", "content_type")
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


def access_policy(host: str, allowed: Iterable[str], key: Secret | None) -> AccessPolicy:
    """The policy of a server at `host`; UsageFault where others could use it without a key."""
    names = LOOPBACK | {name.lower() for name in allowed}
    if host in LOOPBACK:
        return AccessPolicy(names, any_address=False, key=key)
    if key is None:
        raise UsageFault(f"on {host} others can reach it: name a variable with a key for them, --api-key-env NAME")
    own = {host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}
    return AccessPolicy(names | own, any_address=True, key=key)


def _is_address(name: str) -> bool:
    """A numeric address, which no owner of a domain can point elsewhere."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
