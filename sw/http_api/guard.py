"""Who may use the server: the Host header of every request, and the key of those that need one."""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from sw.http_api.errors import ApiError

__all__ = ["Guard", "is_loopback"]

OPEN_PATHS = ("/", "/health", "/docs", "/openapi.json")
"""Paths that need no key: they tell nothing about the users, and a browser has no key for a page."""

HOST = re.compile(r"(\[(?P<six>[0-9a-f:.]+)\]|(?P<name>[^:\[\]]+))(:[0-9]*)?")


def is_loopback(host: str) -> bool:
    """Whether only programs of this computer reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """Middleware that refuses requests.

    The name in the Host header must be `localhost`, an address, or one of `hosts`. A page whose name was made to point
    here, DNS rebinding, has another one.
    """

    def __init__(self, app: ASGIApp, key: str | None, hosts: Collection[str]) -> None:
        self._app, self._hosts = app, {host.lower() for host in hosts}
        self._key = None if key is None else f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(Headers(scope=scope), scope["path"])
            except ApiError as error:
                await error.response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, headers: Headers, path: str) -> None:
        given = headers.get("host", "")
        if not self._known(given):
            raise ApiError(400, f"the host {given[:80]!r} is not that of this server: give it with --allow-host",
                           code="host_not_allowed")
        if self._key is None or path in OPEN_PATHS:
            return
        if not hmac.compare_digest(headers.get("authorization", "").encode("latin-1", "replace"), self._key):
            raise ApiError(401, "the API key is missing or wrong: send Authorization: Bearer KEY",
                           code="invalid_api_key")

    def _known(self, given: str) -> bool:
        parts = HOST.fullmatch(given.lower())
        if parts is None:
            return False
        name = parts["six"] or parts["name"]
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name == "localhost" or name in self._hosts
        return True
