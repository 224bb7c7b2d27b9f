"""What stands before every page: hosts, other sites, sizes, rates, and the browser's own guards."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES: Final = 16 * 1024
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
HEALTH: Final = "/healthz"
BUCKETS: Final = 10_000

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
    """So many at once for each client, and so many a second after that."""

    at_once: int = 300
    a_second: float = 2.0
    clock: Callable[[], float] = time.monotonic
    _left: dict[str, tuple[float, float]] = field(default_factory=dict)

    def seconds_to_wait(self, client: str) -> float:
        """0 where the client may go on, and that is counted; else seconds until it may."""
        now = self.clock()
        left, since = self._left.get(client, (float(self.at_once), now))
        left = min(self.at_once, left + (now - since) * self.a_second)
        if left < 1:
            return (1 - left) / self.a_second
        if client not in self._left and len(self._left) >= BUCKETS:
            self._left.clear()  # forgetting is better than a memory that grows
        self._left[client] = (left - 1, now)
        return 0


class _TooLarge(Exception):
    pass


class Guard:
    """Refuses what no honest page of the portal would send, and sets headers on all answers."""

    def __init__(self, app: ASGIApp, rate_limit: RateLimit, look_limit: RateLimit) -> None:
        self.app, self.rate_limit, self.look_limit = app, rate_limit, look_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        received, too_large = 0, False

        async def send_guarded(message: Message) -> None:
            if too_large:
                return  # what is said of a body that was not read to its end
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-cache")
            await send(message)

        async def receive_limited() -> Message:
            nonlocal received, too_large
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                too_large = True
                raise _TooLarge
            return message

        refusal = self._refusal(scope)
        if refusal is None:
            with suppress(_TooLarge):
                await self.app(scope, receive_limited, send_guarded)
            if not too_large:
                return
            refusal, too_large = _too_large(), False
        await refusal(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        client = scope["client"][0] if scope.get("client") else ""
        if scope["path"] == HEALTH:
            return None
        if scope["method"] in SAFE_METHODS:
            return _limited(self.look_limit, client)
        if not _same_site(headers):
            return _refused(403, "this came from the page of another site")
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > MAX_BODY_BYTES:
            return _too_large()
        return _limited(self.rate_limit, client)


def _same_site(headers: Headers) -> bool:
    """Whether a request that changes something is from a page of ours, or from no browser at all.

    Every current browser sends Sec-Fetch-Site to trustworthy addresses and Origin to all others.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == headers.get("host")


def _limited(limit: RateLimit, client: str) -> JSONResponse | None:
    wait = limit.seconds_to_wait(client)
    if not wait:
        return None
    refused = _refused(429, "too many requests at once; expected some time between them")
    refused.headers["retry-after"] = str(int(wait) + 1)
    return refused


def _too_large() -> JSONResponse:
    return _refused(413, f"this is too large; expected at most {MAX_BODY_BYTES:,} bytes")


def _refused(status: int, reason: str) -> JSONResponse:
    return JSONResponse({"reason": reason, "fields": {}}, status)
