"""Addresses of servers: how to show one without its secrets, and whether to send one secrets.

An address can contain a secret, as in `https://user:password@…` or `?token=…`.
"""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_PORTS = {"http": 80, "https": 443}
# The second alternative is a password with a "/" that should have been percent-encoded; digits
# before a "/" are a port. In an address of Azure, the container is before the "@".
_USERINFO = re.compile(r"(?<=://)(?<!abfss://)(?:[^\s/?#]*|[^\s/?#@:]*:(?!\d*[/?#])[^\s@]*)@")
_SECRET_PARAMETER = re.compile(
    r"([?&][^\s=&#]*(?:token|secret|signature|\bsig|passw|\bpwd|auth|jwt|\bcode|credential|key)[^\s=&#]*=)[^\s&#]+",
    re.IGNORECASE,
)


def without_secrets(text: str) -> str:
    """Remove users and passwords from the addresses in a text, such as an error.

    The values of parameters such as `token` and `X-Amz-Signature` become `***`.
    """
    return _SECRET_PARAMETER.sub(r"\1***", _USERINFO.sub("", text))


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine: localhost, 127.0.0.0/8 or ::1."""
    if host == "localhost":
        return True
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return False


def without_proxy_for_loopback(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `no_proxy` and `NO_PROXY` with this machine added to the hosts they have.

    The processes of an instance reach each other by HTTP and by gRPC, which uses `http_proxy` too.
    To a proxy, 127.0.0.1 is another machine.
    """
    given = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    if given.strip() == "*":  # which means all hosts only where it is alone
        return dict.fromkeys(("no_proxy", "NO_PROXY"), "*")
    hosts = [host for host in re.split(r"[,\s]+", given) if host]
    hosts += [host for host in LOOPBACK if host not in hosts]
    return dict.fromkeys(("no_proxy", "NO_PROXY"), ",".join(hosts))


def is_confidential(address: str) -> bool:
    """Whether the network cannot read what is sent there: https, or this machine."""
    parts = urlsplit(address)
    return parts.scheme == "https" or is_loopback(parts.hostname)


def is_below(address: str, base: str) -> bool:
    """Whether an address has the scheme, host and port of `base`, and a path at or below its path.

    `https://mirror.example.org.evil` is not below `https://mirror.example.org`.
    """
    origin = _origin(address)
    if origin is None or origin != _origin(base):
        return False
    path, folder = (PurePosixPath(unquote(urlsplit(a).path) or "/") for a in (address, base))
    return ".." not in path.parts and path.is_relative_to(folder)


def _origin(address: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port; None if it is not an http(s) address."""
    parts = urlsplit(address)
    try:
        port = parts.port or _PORTS[parts.scheme]
    except (KeyError, ValueError):
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname else None
