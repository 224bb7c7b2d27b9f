"""Protection of the platform's web servers against foreign pages, unknown hosts and slow clients.

Dagster's UI and the report portal use it. On one machine neither has a password, so a page of any
site that a user opens could send them requests: by a link, an image, a form, a WebSocket, or a
hostname that the site points at 127.0.0.1 (DNS rebinding).
"""

import asyncio
import ipaddress
import json
import os
import re
import resource
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")

REQUEST_SECONDS: Final = 20.0
CONNECTIONS: Final = 1_000
OPEN_FILES: Final = 4 * CONNECTIONS

_HOST = re.compile(r"([\w.-]+|\[[0-9a-f:.]+\])(:[0-9]+)?")
_OWN_PAGES = (b"same-origin", b"none")
_ADD_THE_HOST = "Its operator can allow it by TAXI_UI_HOSTS or TAXI_PORTAL_HOSTS."

Scope = dict[str, Any]
Headers = dict[bytes, bytes]
Message = dict[str, Any]


def allowed_hosts(setting: str) -> tuple[str, ...]:
    """Return the hosts of a setting, separated by commas, and those of this machine.

    Browsers may reach a server by these. A name is `reports.example.com`. An origin is
    `https://intranet.example.com`: the address of a proxy that puts another name into the header
    Host. Raises ValueError for anything else.
    """
    named = (_name_or_origin(entry) for entry in setting.split(",") if entry.strip())
    return tuple(dict.fromkeys((*named, *LOOPBACK_HOSTS)))


def origins(hosts: Iterable[str]) -> tuple[str, ...]:
    """Return the origins among the hosts of `allowed_hosts`."""
    return tuple(host for host in hosts if "://" in host)


def _name_or_origin(entry: str) -> str:
    entry = entry.strip().lower()
    is_name = "://" not in entry and "/" not in entry
    try:
        address = urlsplit(f"http://{entry}" if is_name else entry)
        usual_port = {"http": ":80", "https": ":443"}.get(address.scheme, "")
        is_origin = f"{address.scheme}://{address.netloc}" == entry.removesuffix("/")
        is_valid = bool(usual_port and (is_name or is_origin) and _HOST.fullmatch(address.netloc))
        is_valid = is_valid and address.port != 0
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ValueError(
            f"{entry!r} is not a server's address; expected a name such as reports.example.com, or "
            "scheme and name without a path, as in https://intranet.example.com"
        )
    return _without_port(entry) if is_name else entry.removesuffix("/").removesuffix(usual_port)


class SameSiteGuard:
    """ASGI middleware that refuses requests of other sites' pages, WebSockets included.

    hosts: names allowed in the header Host, without a port, and origins of proxies that change
           that header; see `allowed_hosts`

    Of other sites' requests, only a link passes: a GET that opens a page of this server. Clients
    that are not browsers send none of these headers and pass. Responds with 400 to an unknown host,
    with 403 to a request of another site.
    """

    def __init__(self, app: Any, hosts: Iterable[str]) -> None:
        self.app, self.hosts = app, frozenset(hosts)
        self.origins = frozenset(origins(self.hosts))
        self.names = self.hosts - self.origins | {
            _without_port(_host_of(origin)) for origin in self.origins
        }

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers: Headers = dict(scope["headers"])  # of a name sent twice, the last
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if _without_port(host) not in self.names or _sent_twice(scope, b"host"):
            await _refuse(scope, send, 400, f"Unknown host {host!r}. {_ADD_THE_HOST}")
        elif not self._is_same_site(scope, headers, host):
            await _refuse(scope, send, 403, "This request came from a page of another site.")
        else:
            await self.app(scope, receive, _unframed(send))

    def _is_same_site(self, scope: Scope, headers: Headers, host: str) -> bool:
        """Whether a request comes from a page of this server, from no page, or follows a link.

        Current browsers send Sec-Fetch-Site to trustworthy addresses (https, loopback), and Origin
        to all others unless they load a page or an image (https://www.w3.org/TR/fetch-metadata/).
        A proxy that changes Host leaves Origin as it is.
        """
        site = headers.get(b"sec-fetch-site")
        if site is not None and site not in _OWN_PAGES:
            return bool(
                scope["type"] == "http"
                and scope["method"] in ("GET", "HEAD")
                and headers.get(b"sec-fetch-mode") == b"navigate"
                and headers.get(b"sec-fetch-dest") == b"document"
            )
        sent = headers.get(b"origin")
        if sent is None:
            return True
        origin = sent.decode("latin-1").lower()
        return _host_of(origin) == host or origin in self.origins


def _unframed(send: Any) -> Any:
    """Forbid other sites to show responses in a frame, where they could misdirect a click."""

    async def send_unframed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            if all(name.lower() != b"x-frame-options" for name, _ in headers):
                message = {**message, "headers": [*headers, (b"x-frame-options", b"SAMEORIGIN")]}
        await send(message)

    return send_unframed


def _host_of(origin: str) -> str:
    return origin.partition("://")[2]


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _sent_twice(scope: Scope, name: bytes) -> bool:
    return [key for key, _ in scope["headers"]].count(name) > 1


async def _refuse(scope: Scope, send: Any, status: int, reason: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})  # before the handshake: HTTP 403
        return
    body = json.dumps({"reason": reason, "fields": {}}).encode()
    headers = [(b"content-type", b"application/json"), (b"x-content-type-options", b"nosniff")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class ForwardedUser:
    """ASGI middleware that takes the user from the header X-Forwarded-User of a trusted proxy.

    proxies: addresses or networks of the proxies

    It needs the peer's address, so it must run before the middleware that replaces that address by
    X-Forwarded-For. Sets `scope["user_name"]`, empty without a trusted proxy.
    """

    def __init__(self, app: Any, proxies: Iterable[str]) -> None:
        self.app = app
        self.networks = [ipaddress.ip_network(proxy) for proxy in proxies]

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Set `scope["user_name"]` and pass the request on."""
        if scope["type"] != "lifespan":
            user = dict(scope["headers"]).get(b"x-forwarded-user", b"")
            scope["user_name"] = user.decode("latin-1") if self._is_trusted(scope) else ""
        await self.app(scope, receive, send)

    def _is_trusted(self, scope: Scope) -> bool:
        address, _ = scope.get("client") or ("", 0)
        try:
            peer = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(peer in network for network in self.networks)


def serve(app: Any, host: str, port: int, log_level: str = "info") -> None:
    """Serve an ASGI application with uvicorn until SIGINT or SIGTERM.

    A connection that has not sent a whole request after `REQUEST_SECONDS` is closed. The proxies in
    FORWARDED_ALLOW_IPS set the client's address (X-Forwarded-For) and user.
    """
    import uvicorn
    from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    class DeadlineProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        """Add a deadline: uvicorn waits forever for the first request and for a body."""

        deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._set_deadline()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._set_deadline()

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel_deadline()
            super().connection_lost(exc)

        def _set_deadline(self) -> None:
            self._cancel_deadline()
            self.deadline = self.loop.call_later(REQUEST_SECONDS, self._close_if_incomplete)

        def _cancel_deadline(self) -> None:
            if self.deadline:
                self.deadline.cancel()

        def _close_if_incomplete(self) -> None:
            if self.transport.get_protocol() is not self:
                return  # it has become a WebSocket
            if not self.cycle or self.cycle.response_complete or self.cycle.more_body:
                self.transport.abort()

    _raise_open_files()
    proxies = [name for name in os.environ.get("FORWARDED_ALLOW_IPS", "").split(",") if name]
    if proxies:
        app = ForwardedUser(ProxyHeadersMiddleware(app, proxies), proxies)
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_level=log_level,
        http=DeadlineProtocol,
        limit_concurrency=CONNECTIONS,
        proxy_headers=False,
        server_header=False,
        access_log=False,
        timeout_graceful_shutdown=5,
    )


def _raise_open_files() -> None:
    """Raise the limit of open files to what the accepted connections need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
