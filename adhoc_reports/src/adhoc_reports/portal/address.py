"""The portal's address for browsers: below a path, or at a proxy that changes the header Host.

The settings say it. Request headers such as X-Forwarded-Prefix do not: any client can set them.
"""

import re
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from taxi_shared import settings

OWN_PATHS = ("api", "healthz", "reports", "static")


def base_path(setting: str) -> str:
    """The path of TAXI_PORTAL_PATH without a slash at its end; empty for the root of a server.

    Raises ValueError for what is no such path, and for a path that the portal itself has.
    """
    path = setting.rstrip("/")
    if path and not re.fullmatch(r"(/[A-Za-z0-9_-]+)+", path):
        raise ValueError(
            f"{settings.PORTAL_PATH} is {setting!r}; expected a path of letters, digits, - and _, "
            "as in /taxi"
        )
    if path.partition("/")[2].partition("/")[0] in OWN_PATHS:
        raise ValueError(
            f"{settings.PORTAL_PATH} is {setting!r}, which is a path of the portal itself; "
            "expected another one, as in /taxi"
        )
    return path


def route_path(scope: Scope) -> str:
    """The path of a request below that of the proxy."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


class PublicAddress:
    """ASGI middleware that lets the application see its address as browsers do.

    path:   as of `base_path`; a proxy may keep it in requests or remove it
    origin: scheme and name of a proxy that changes the header Host; empty where none does
    """

    def __init__(self, app: ASGIApp, path: str = "", origin: str = "") -> None:
        self.app, self.path, self.origin = app, path, urlsplit(origin)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            scope = {**scope, "root_path": self.path, "path": self._below(scope["path"])}
            if self.origin.netloc:
                others = [(name, value) for name, value in scope["headers"] if name != b"host"]
                host = (b"host", self.origin.netloc.encode())
                scope |= {"scheme": self.origin.scheme, "headers": [host, *others]}
        await self.app(scope, receive, send)

    def _below(self, path: str) -> str:
        """The path with that of the proxy before it, as ASGI wants it."""
        if path == self.path:
            return f"{path}/"
        return path if path.startswith(f"{self.path}/") else f"{self.path}{path}"
