"""An HTTP session of requests that sends only the credentials it is given.

requests itself sends what `.netrc` has for a host, instead of other credentials, also after a
redirect. Its `trust_env = False` would turn off the environment's proxies and certificates too.
"""

from base64 import b64encode
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import requests
from requests.auth import AuthBase

from taxi_shared.addresses import is_below, is_confidential, is_loopback, without_secrets


class UnsafeCredentials(ValueError):
    """Credentials are not valid in a header, or others could read them on the way."""


@dataclass(frozen=True)
class Credentials(AuthBase):
    """The header `Authorization` for requests to the address `below` and to addresses below it.

    Raises UnsafeCredentials where `below` is plain http to another machine; the message does not
    contain the credentials.
    """

    header: str = ""
    below: str = ""

    def __post_init__(self) -> None:
        if self.header and not is_confidential(self.below):
            raise UnsafeCredentials(
                f"no credentials are sent to {without_secrets(self.below)}, as anyone on the way "
                "could read them: use an https:// address"
            )
        if not (self.header.isascii() and self.header.isprintable()):
            raise UnsafeCredentials("the credentials contain a line break or other than ASCII")

    def __repr__(self) -> str:
        return f"Credentials(below={without_secrets(self.below)!r})"

    @classmethod
    def in_address(cls, address: str) -> Self:
        """Take the user and the password of `https://user:password@…`, for that whole server."""
        parts = urlsplit(address)
        userinfo, at, _ = parts.netloc.rpartition("@")
        if not at:
            return cls()
        header = f"Basic {b64encode(unquote(userinfo).encode()).decode()}"
        return cls(header, f"{parts.scheme}://{parts.netloc}")

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Set the header of a request for the address; remove that of any other request."""
        request.headers.pop("Authorization", None)
        if self.header and is_below(request.url or "", self.below):
            request.headers["Authorization"] = self.header
        return request


class Session(requests.Session):
    """A session of requests: redirects get no other credentials, and their bodies are not read."""

    def __init__(self, credentials: Credentials = Credentials()) -> None:
        super().__init__()
        self.auth = self._credentials = credentials
        self.hooks["response"] = [_close_redirect]

    def rebuild_auth(
        self, prepared_request: requests.PreparedRequest, response: requests.Response
    ) -> None:
        """Apply the same credentials to a redirect, and not those of `.netrc`."""
        self._credentials(prepared_request)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send a request; one for this machine bypasses the proxy."""
        if is_loopback(urlsplit(request.url or "").hostname):
            kwargs["proxies"] = {}  # a proxy's loopback is another machine
            request.headers.pop("Proxy-Authorization", None)
        return super().send(request, **kwargs)


def _close_redirect(response: requests.Response, *args: Any, **kwargs: Any) -> None:
    # requests would read the body into memory, whatever its size.
    if response.is_redirect:
        response.raw.close()
