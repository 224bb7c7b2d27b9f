"""Files where they are published: at an http(s) address, a local path or a file:// URL.

`fetch_version` says which version a file has, `open_file` reads its content.
"""

import base64
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit

from taxi_shared import settings
from taxi_shared.addresses import is_below, without_secrets
from taxi_shared.secrets import secret

if TYPE_CHECKING:
    # Imported by the functions that use them: every run imports this module, few download.
    import requests

    from taxi_shared.http import Credentials

T = TypeVar("T")
CHUNK_BYTES = 1 << 20
# Compressed in transit, the length of the file would not be the length of the body.
IDENTITY = {"Accept-Encoding": "identity"}
CONNECT_SECONDS, READ_SECONDS = 10, 60
# Dagster gives a sensor 60 seconds, in which two of these must end one after the other.
HEAD_SECONDS = 20
# By which a publisher may say what the content is: RFC 9530 and the RFC before it, Google, Azure.
DIGEST_HEADERS = ("Repr-Digest", "Digest", "x-goog-hash", "Content-MD5")
DIGEST = re.compile(r"\b(sha-256=:?[a-z0-9+/]{43}=|md5=:?[a-z0-9+/]{22}==)", re.IGNORECASE)
LONGEST_LENGTH = 19  # digits of a length in bytes: more are no length
TRANSIENT = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
SUCCESS = frozenset({HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.NOT_MODIFIED})


class DownloadError(Exception):
    """A file could not be fetched, and a retry would not help, but for TransientError.

    wait_seconds: the wait that the server asks for (Retry-After); None where it does not
    """

    def __init__(self, message: str, wait_seconds: float | None = None) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


class NotPublished(DownloadError):
    """The publisher does not have the file (yet)."""


class Forbidden(NotPublished):
    """HTTP 403.

    TLC's server answers it for a file that does not exist, and to an address that it limits:
    `publication.Refusals` distinguishes the two.
    """


class TransientError(DownloadError):
    """A failure that may pass."""


class Blocked(TransientError):
    """The publisher limits the requests of this address."""


@dataclass(frozen=True)
class Version:
    """What a publisher says about the present version of a file; None where it says nothing."""

    etag: str | None = None
    last_modified: str | None = None
    bytes: int | None = None

    def is_same_as(self, other: "Version") -> bool:
        """Compare the ETags where both have one, else the times, and the lengths if both have one.

        The answers to HEAD and to GET may differ in what they say.
        """
        if self.etag and other.etag:
            return self.etag == other.etag
        if None not in (self.bytes, other.bytes) and self.bytes != other.bytes:
            return False
        return self.last_modified == other.last_modified


def fetch_version(address: str) -> Version:
    """Fetch what the publisher says about a file, without its content.

    Raises NotPublished (404, no such local file; Forbidden for 403), TransientError (Blocked for
    429) or DownloadError.
    """
    if path := _local_path(address):
        return _local_version(address, path)
    deadline = time.monotonic() + HEAD_SECONDS
    try:
        with _response("HEAD", address, IDENTITY, deadline) as response:
            return _http_version(response)
    except _NoHead:
        first_byte = {**IDENTITY, "Range": "bytes=0-0"}
        with _response("GET", address, first_byte, deadline) as response:
            return _http_version(response)


@contextmanager
def open_file(
    address: str, known: Version | None, deadline: float
) -> Iterator[tuple[Version, Iterator[bytes] | None]]:
    """Open a file: its version and its content in chunks; None where it has the known version.

    The publisher has to answer by the deadline (`time.monotonic`). Raises as `fetch_version` does;
    the content TransientError at its end, if it has another digest than the publisher says, or if
    the local file was changed meanwhile.
    """
    if path := _local_path(address):
        version = _local_version(address, path)
        if version == known:
            yield version, None
            return
        with path.open("rb") as file:
            chunks = iter(lambda: file.read(CHUNK_BYTES), b"")
            yield version, _unchanged(chunks, address, version)
        return
    headers = dict(IDENTITY)
    if known and known.etag:
        headers["If-None-Match"] = known.etag
    elif known and known.last_modified:
        headers["If-Modified-Since"] = known.last_modified
    with _response("GET", address, headers, deadline) as response:
        if response.status_code == HTTPStatus.NOT_MODIFIED:
            yield _http_version(response), None
            return
        # `iter_content` waits for a whole chunk: forever, if a server sends a byte now and then.
        chunks = iter(lambda: response.raw.read1(CHUNK_BYTES, decode_content=True), b"")
        yield _http_version(response), _verified(chunks, without_secrets(address), response)


@contextmanager
def _response(
    method: str, address: str, headers: Mapping[str, str], deadline: float
) -> Iterator["requests.Response"]:
    """The publisher's answer, its body unread."""
    from taxi_shared.http import Session

    shown = without_secrets(address)
    with Session(_credentials(address)) as session, _transient_errors(shown):

        def request() -> "requests.Response":
            return session.request(
                method,
                address,
                headers=headers,
                stream=True,
                timeout=(CONNECT_SECONDS, READ_SECONDS),
                allow_redirects=True,
            )

        with _result_by(deadline, request) as response:
            _raise_for_status(response, shown)
            yield response


def _result_by(deadline: float, call: Callable[[], "requests.Response"]) -> "requests.Response":
    """The result of a call. Raises TimeoutError where it does not return by the deadline.

    The timeouts of requests hold for each read: a server that sends a header now and then keeps
    within them.
    """
    return start(call).result(max(0, deadline - time.monotonic()))


def start(call: Callable[[], T]) -> Future[T]:
    """Start a call in a thread that does not keep the process from ending."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def _unchanged(chunks: Iterable[bytes], address: str, version: Version) -> Iterator[bytes]:
    """The content of a local file. Raises TransientError if it was changed meanwhile."""
    yield from chunks
    if (path := _local_path(address)) and _local_version(address, path) != version:
        raise TransientError(f"{address} was changed while it was read")


def _verified(
    chunks: Iterable[bytes], shown: str, response: "requests.Response"
) -> Iterator[bytes]:
    """The content of an answer. Raises TransientError if it is not what the headers say.

    The ETag is no digest to rely on: that of an object on S3 is the MD5 of its content, unless it
    was uploaded in parts, or encrypted by a key of KMS.
    """
    algorithm, expected = _announced_digest(response)
    digest = hashlib.new(algorithm, usedforsecurity=False)
    for chunk in chunks:
        if expected:
            digest.update(chunk)
        yield chunk
    found = base64.b64encode(digest.digest()).decode()
    if expected and found != expected:
        raise TransientError(
            f"{shown}: the content has {algorithm} {found}, expected {expected}, as its publisher "
            "says"
        )


def _announced_digest(response: "requests.Response") -> tuple[str, str]:
    """The algorithm and the digest of the content, in Base64; empty where no header has it."""
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        return "sha256", ""
    values = [f"{name}={response.headers.get(name, '')}" for name in DIGEST_HEADERS]
    text = ", ".join(values).replace("Content-MD5=", "md5=")
    found = [each.partition("=")[::2] for each in DIGEST.findall(text)]
    name, digest = max(found, key=lambda each: each[0].lower(), default=("sha-256", ""))
    return name.lower().replace("-", ""), digest.removeprefix(":")


def _credentials(address: str) -> "Credentials":
    """The token where the address is below TLC_SOURCE_URL, else the address's user and password.

    Raises DownloadError where others could read them on the way.
    """
    from taxi_shared.http import Credentials, UnsafeCredentials

    source = settings.load().source_url
    token = secret("source_token") if is_below(address, source) else ""
    try:
        return Credentials(f"Bearer {token}", source) if token else Credentials.in_address(address)
    except UnsafeCredentials as error:
        names = ("TLC_SOURCE_TOKEN",) if token else ("TLC_SOURCE_URL", "TAXI_ZONES_URL")
        raise DownloadError(f"{' or '.join(names)}: {error}") from None


@contextmanager
def _transient_errors(shown: str) -> Iterator[None]:
    import requests
    import urllib3

    # Without their causes: the texts of those have the address as it is.
    try:
        yield
    except TimeoutError:
        raise TransientError(f"{shown}: no answer in time") from None
    except (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
        urllib3.exceptions.HTTPError,
    ) as error:
        raise TransientError(f"{shown}: {_reason(error)}") from None
    except requests.RequestException as error:
        raise DownloadError(f"{shown}: {without_secrets(str(error))}") from None


def _reason(error: Exception) -> str:
    """Why there is no connection, without urllib3's pools, objects and repeated address."""
    cause = error.args[0] if error.args and isinstance(error.args[0], Exception) else error
    cause = getattr(cause, "reason", None) or cause
    text = without_secrets(str(cause))
    return text.partition("): ")[2] or text


class _NoHead(DownloadError):
    """The server does not answer HEAD."""


def _raise_for_status(response: "requests.Response", shown: str) -> None:
    status, wait = response.status_code, _retry_after(response)
    if status == HTTPStatus.FORBIDDEN:
        raise Forbidden(f"{shown} is not published, or refused (HTTP 403)", wait)
    if status == HTTPStatus.NOT_FOUND:
        raise NotPublished(f"{shown} is not published (HTTP 404)")
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        raise Blocked(f"{shown}: HTTP 429, too many requests", wait)
    if status in TRANSIENT:
        raise TransientError(f"{shown}: HTTP {status}", wait)
    if response.request.method == "HEAD" and status in (
        HTTPStatus.METHOD_NOT_ALLOWED,
        HTTPStatus.NOT_IMPLEMENTED,
    ):
        raise _NoHead(f"{shown}: HTTP {status}")
    if status not in SUCCESS:
        raise DownloadError(f"{shown}: HTTP {status} {response.reason}")


def _retry_after(response: "requests.Response") -> float | None:
    """The seconds that the server asks to wait; None where it does not, or not in a known form."""
    from urllib3.exceptions import InvalidHeader
    from urllib3.util import Retry

    try:
        return Retry().parse_retry_after(response.headers.get("Retry-After", ""))
    except (InvalidHeader, ValueError, OverflowError):  # the last two for absurd numbers and dates
        return None


def _http_version(response: "requests.Response") -> Version:
    return Version(
        etag=response.headers.get("ETag"),
        last_modified=response.headers.get("Last-Modified"),
        bytes=_file_bytes(response),
    )


def _file_bytes(response: "requests.Response") -> int | None:
    """The length of the file, where the answer says it.

    It does not where it is compressed although IDENTITY was requested: its length differs.
    """
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        return None
    length = response.headers.get("Content-Length", "")
    if response.status_code == HTTPStatus.PARTIAL_CONTENT:
        length = response.headers.get("Content-Range", "").rpartition("/")[2]
    return int(length) if length.isdecimal() and len(length) <= LONGEST_LENGTH else None


def _local_path(address: str) -> Path | None:
    """The path of a local address or a file:// URL; None for the address of a server."""
    if "://" not in address:
        return Path(address)
    parts = urlsplit(address)
    if parts.scheme != "file":
        return None
    if parts.netloc not in ("", "localhost"):
        raise DownloadError(f"{address} has the host {parts.netloc!r}; expected file:///folder/…")
    return Path(unquote(parts.path))


def _local_version(address: str, path: Path) -> Version:
    try:
        stat = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        source = path.parent.parent  # missing where a file system is not mounted
        if not source.is_dir():
            raise DownloadError(f"{address}: there is no folder {source}") from None
        raise NotPublished(f"{address} is not published (no such file)") from None
    except OSError as error:
        raise DownloadError(f"{address} cannot be read ({error.strerror})") from None
    if not S_ISREG(stat.st_mode):
        raise DownloadError(f"{address} is a folder or a device; expected a file")
    return Version(last_modified=str(stat.st_mtime_ns), bytes=stat.st_size)
