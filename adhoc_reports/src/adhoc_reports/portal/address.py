"""The portal's address as browsers see it: below a path, or behind a proxy that changes Host.

It comes from the settings, never from headers such as X-Forwarded-Prefix: any client can set them.
"""

import re
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

RESERVED_PATHS = ("api", "healthz", "reports", "static")


def base_path(setting: str) -> str:
    """The path of TAXI_PORTAL_PATH without a trailing slash; empty for the root of a server.

    Raises ValueError for an invalid path, and for one that the portal uses itself.
    """
    path = setting.rstrip("/")
    if path and not re.fullmatch(r"(/[A-Za-z0-9_-]+)+", path):
        raise ValueError(
            f"TAXI_PORTAL_PATH is {setting!r}; expected a path of letters, digits, - and _, "
            "as in /taxi"
        )
    if path.partition("/")[2].partition("/")[0] in RESERVED_PATHS:
        raise ValueError(
            f"TAXI_PORTAL_PATH is {setting!r}, which the portal uses itself; "
            "choose another path, as in /taxi"
        )
    return path


def route_path(scope: Scope) -> str:
    """The path of a request, without the portal's base path."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


class PublicAddress:
    """ASGI middleware that gives the application its address as browsers see it.

    path:   the result of `base_path`; a proxy may keep it in requests or remove it
    origin: scheme and name of a proxy that changes the header Host, else empty
    """

    def __init__(self, app: ASGIApp, path: str = "", origin: str = "") -> None:
        self.app, self.path, self.origin = app, path, urlsplit(origin)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, whose path and Host become those that browsers see."""
        if scope["type"] != "lifespan":
            scope = {**scope, "root_path": self.path, "path": self._with_base_path(scope["path"])}
            if self.origin.netloc:
                others = [(name, value) for name, value in scope["headers"] if name != b"host"]
                host = (b"host", self.origin.netloc.encode())
                scope |= {"scheme": self.origin.scheme, "headers": [host, *others]}
        await self.app(scope, receive, send)

    def _with_base_path(self, path: str) -> str:
        """The path with the base path in front, as ASGI expects it."""
        if path == self.path:
            return f"{path}/"
        return path if path.startswith(f"{self.path}/") else f"{self.path}{path}"
