"""Middleware in front of every page: limits on size, time and rate, and security headers."""

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
MAX_CLIENTS: Final = 10_000
BODY_SECONDS: Final = 10.0
MAX_USER_CHARACTERS: Final = 200
TOO_LARGE = f"The request is too large. Send at most {MAX_BODY_BYTES:,} bytes."
TOO_SLOW = f"The request took too long. Send it within {BODY_SECONDS:.0f} seconds."
# Of an answer to a body that is not read to its end.
CLOSE = {"connection": "close"}

_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not no-referrer: browsers would send forms without the header Origin, which the guard needs.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass
class RateLimit:
    """A token bucket per client: `burst` requests at once, then `per_second`.

    Memory is bounded: only the MAX_CLIENTS clients seen last have a bucket, and a new client evicts
    the one seen longest ago. The library `limits` bounds nothing: 300,000 clients took 148 MB, and
    its expiry held up requests for 0.6 s (4 MB and 25 ms here).
    """

    burst: int = 300
    per_second: float = 2.0
    clock: Callable[[], float] = time.monotonic
    _buckets: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def seconds_to_wait(self, client: str) -> float:
        """0 if the client may send this request, which is then counted; else seconds to wait."""
        now = self.clock()
        tokens, updated = self._buckets.get(client, (float(self.burst), now))
        tokens = min(self.burst, tokens + (now - updated) * self.per_second)
        is_allowed = tokens >= 1
        self._buckets[client] = (tokens - 1 if is_allowed else tokens, now)
        self._buckets.move_to_end(client)
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return 0 if is_allowed else (1 - tokens) / self.per_second


def sender_of(scope: Scope) -> str:
    """The sender of a request: the user that a trusted proxy names, else the client's address.

    An IPv6 address counts by its /64, which belongs to one household or machine.
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
    """The body is too large or too slow, and is not read further."""


class _Body:
    """Receives a request's body, of at most MAX_BODY_BYTES within BODY_SECONDS.

    refusal: the answer to a body that exceeds a limit
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._deadline = anyio.current_time() + BODY_SECONDS
        self._size, self._complete = 0, False
        self.refusal: JSONResponse | None = None

    async def receive(self) -> Message:
        """Return the next message. Raises _BodyRefused."""
        if self._complete:  # the next message is the client's disconnect
            return await self._receive()
        try:
            with anyio.fail_after(self._deadline - anyio.current_time()):
                message = await self._receive()
        except TimeoutError:
            self.refusal = _refused(408, TOO_SLOW, CLOSE)
            raise _BodyRefused from None
        self._size += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._size > MAX_BODY_BYTES:
            self.refusal = _refused(413, TOO_LARGE, CLOSE)
            raise _BodyRefused
        return message


class HeadAsGet:
    """ASGI middleware that answers HEAD like GET, without a body; monitoring tools use it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self.app({**scope, "method": "GET"}, receive, send_without_body)


class Guard:
    """ASGI middleware that refuses large, slow or too many requests, and adds security headers.

    write_limit, read_limit: per sender, of requests that change something and of all others
    """

    def __init__(self, app: ASGIApp, write_limit: RateLimit, read_limit: RateLimit) -> None:
        self.app, self.write_limit, self.read_limit = app, write_limit, read_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
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
        is_read = scope["method"] in SAFE_METHODS
        length = Headers(scope=scope).get("content-length", "0")
        if not is_read and length.isdigit() and int(length) > MAX_BODY_BYTES:
            return _refused(413, TOO_LARGE, CLOSE)
        limit = self.read_limit if is_read else self.write_limit
        wait = limit.seconds_to_wait(sender_of(scope))
        retry = {"retry-after": str(int(wait) + 1)}
        return _refused(429, "Too many requests. Try again later.", retry) if wait else None


def _refused(status: int, reason: str, headers: dict[str, str]) -> JSONResponse:
    return JSONResponse({"reason": reason, "fields": {}}, status, headers)
