"""What stands before every page: sizes, rates, and the browser's own guards."""

import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from adhoc_reports.portal.address import route_path

MAX_BODY_BYTES: Final = 16 * 1024
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
HEALTH: Final = "/healthz"
BUCKETS: Final = 10_000
BODY_SECONDS: Final = 10.0
MAX_USER_CHARACTERS: Final = 200

_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not no-referrer: browsers would send no Origin with a form, by which other sites are told.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass
class RateLimit:
    """How many requests one client may send at once, and how many per second after that.

    It remembers the BUCKETS clients that were last seen, so its memory is bounded; a new client
    replaces the one that was seen longest ago, and resets no other.
    """

    at_once: int = 300
    a_second: float = 2.0
    clock: Callable[[], float] = time.monotonic
    _left: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def seconds_to_wait(self, client: str) -> float:
        """0 where the client may go on, and that is counted; else seconds until it may."""
        now = self.clock()
        left, since = self._left.get(client, (float(self.at_once), now))
        left = min(self.at_once, left + (now - since) * self.a_second)
        allowed = left >= 1
        self._left[client] = (left - 1 if allowed else left, now)
        self._left.move_to_end(client)
        if len(self._left) > BUCKETS:
            self._left.popitem(last=False)
        return 0 if allowed else (1 - left) / self.a_second


def asker(scope: Scope) -> str:
    """Who sends a request: the user that a trusted proxy names, else the client's address.

    An IPv6 address counts by its /64, which one household or machine has to itself.
    """
    if user := scope.get("user_name", ""):
        return f"user {user[:MAX_USER_CHARACTERS]}"
    host = str(scope["client"][0]) if scope.get("client") else ""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped or ip_network((address, 64), strict=False))
    return str(address)


class _BodyRefused(Exception):
    """A body that is too large or too slow; read no further."""


class _Body:
    """A request's body, received within MAX_BODY_BYTES and BODY_SECONDS; `refusal` where not."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._deadline = anyio.current_time() + BODY_SECONDS
        self._size, self._complete = 0, False
        self.refusal: JSONResponse | None = None

    async def receive(self) -> Message:
        """The next message. Raises _BodyRefused."""
        if self._complete:  # what follows is the client's disconnect
            return await self._receive()
        try:
            with anyio.fail_after(self._deadline - anyio.current_time()):
                message = await self._receive()
        except TimeoutError:
            self.refusal = _too_slow()
            raise _BodyRefused from None
        self._size += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._size > MAX_BODY_BYTES:
            self.refusal = _too_large()
            raise _BodyRefused
        return message


class HeadAsGet:
    """ASGI middleware that answers HEAD with the headers of GET, which monitoring tools rely on."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self.app({**scope, "method": "GET"}, receive, send_without_body)


class Guard:
    """Refuses what no honest page of the portal would send, and sets headers on all answers."""

    def __init__(self, app: ASGIApp, rate_limit: RateLimit, look_limit: RateLimit) -> None:
        self.app, self.rate_limit, self.look_limit = app, rate_limit, look_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        body = _Body(receive)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-cache")
            await send(message)

        async def send_unless_refused(message: Message) -> None:
            if body.refusal is None:
                await send_guarded(message)

        refusal = self._refusal(scope)
        if refusal is None:
            with suppress(_BodyRefused):
                await self.app(scope, body.receive, send_unless_refused)
            refusal = body.refusal
        if refusal is not None:
            await refusal(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        if route_path(scope) == HEALTH:
            return None
        if scope["method"] in SAFE_METHODS:
            return _limited(self.look_limit, asker(scope))
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdigit() and int(length) > MAX_BODY_BYTES:
            return _too_large()
        return _limited(self.rate_limit, asker(scope))


def _limited(limit: RateLimit, sender: str) -> JSONResponse | None:
    wait = limit.seconds_to_wait(sender)
    if not wait:
        return None
    refused = _refused(429, "Too many requests at once. Try again later.")
    refused.headers["retry-after"] = str(int(wait) + 1)
    return refused


def _too_large() -> JSONResponse:
    return _unread(413, f"The request is too large. Send at most {MAX_BODY_BYTES:,} bytes.")


def _too_slow() -> JSONResponse:
    return _unread(408, f"The request took too long. Send it within {BODY_SECONDS:.0f} seconds.")


def _unread(status: int, reason: str) -> JSONResponse:
    """A refusal of a body that is not read to its end: the server closes the connection."""
    refused = _refused(status, reason)
    refused.headers["connection"] = "close"
    return refused


def _refused(status: int, reason: str) -> JSONResponse:
    return JSONResponse({"reason": reason, "fields": {}}, status)
