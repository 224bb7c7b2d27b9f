"""Files from their publisher to the data root: streamed, checked, retried, moved into place.

A publisher is an http(s) address, a local path or a file:// URL; all answer the same questions.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from upath import UPath

from taxi_shared import settings, storage
from taxi_shared.addresses import is_below, without_secrets
from taxi_shared.secrets import secret

if TYPE_CHECKING:
    # Imported by the functions that use them: every run imports this module, few download.
    import requests
    import tenacity

    from taxi_shared.http import Credentials

CHUNK_BYTES = 1 << 20
# Compressed in transit, the length of the file would not be the length of the body.
IDENTITY = {"Accept-Encoding": "identity"}
CONNECT_SECONDS, READ_SECONDS = 10, 60
# Dagster gives a sensor 60 seconds, in which two of these must end one after the other.
HEAD_SECONDS = 20
FORBIDDEN, NOT_FOUND, TOO_MANY_REQUESTS = 403, 404, 429
TRANSIENT = (408, 425, 500, 502, 503, 504)
NO_HEAD = (405, 501)
PARQUET, ENCRYPTED_PARQUET = b"PAR1", b"PARE"
SMALLEST_PARQUET = 12  # the magic twice, and the length of the footer


class DownloadError(Exception):
    """A file could not be fetched; trying again would not help."""


class NotPublished(DownloadError):
    """The publisher does not have the file (yet)."""


class Forbidden(NotPublished):
    """HTTP 403. TLC's server answers it for a file that does not exist, and to an address that it
    limits: `publication.Refusals` distinguishes the two. `wait_seconds` is its Retry-After."""

    def __init__(self, message: str, wait_seconds: float | None = None) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


class TransientError(DownloadError):
    """A failure that may pass: worth another try after `wait_seconds`, or after the usual time."""

    def __init__(self, message: str, wait_seconds: float | None = None) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


class Blocked(TransientError):
    """The publisher limits the requests of this address."""


@dataclass(frozen=True)
class Version:
    """What a publisher says about the present version of a file; None where it says nothing."""

    etag: str | None = None
    last_modified: str | None = None
    bytes: int | None = None

    def is_same_as(self, other: "Version") -> bool:
        """By the ETag where both have one, otherwise by time, and by length where both have one.

        The answers to HEAD and to GET may differ in what they say.
        """
        if self.etag and other.etag:
            return self.etag == other.etag
        lengths = {self.bytes, other.bytes} - {None}
        return self.last_modified == other.last_modified and len(lengths) < 2


@dataclass(frozen=True)
class SourceMetadata:
    """Where a file of the data root came from: kept beside it as `<name>.source.json`.

    The address is without secrets; that of a metadata by an older version may have some.
    """

    address: str
    version: Version
    bytes: int
    sha256: str

    @classmethod
    def load_verified(cls, path: UPath) -> "SourceMetadata | None":
        """The metadata of a file; None where there is none or the file is not as it says."""
        metadata = cls.load(path)
        if metadata is None or not path.is_file() or path.stat().st_size != metadata.bytes:
            return None
        return metadata

    @classmethod
    def load(cls, path: UPath) -> "SourceMetadata | None":
        """The metadata beside a file, whether the file is still there or not.

        None where there is none, or none that can be read: the file is then fetched again.
        """
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(cls).validate_json(storage.read_bytes(_metadata_path(path)))
        except (FileNotFoundError, ValidationError):
            return None


@dataclass(frozen=True)
class Download:
    """The outcome: the metadata, and whether the file was fetched or had not changed."""

    metadata: SourceMetadata
    fetched: bool


@dataclass(frozen=True)
class Backoff:
    """How often to try, and how long to wait: doubling from `first_wait_seconds`."""

    attempts: int = 5
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 60.0


@dataclass(frozen=True)
class Limits:
    """How large a file may be, and until when (`time.monotonic`) it must be there."""

    size_setting: str
    max_mb: int
    deadline: float

    @classmethod
    def start(cls, size_setting: str) -> "Limits":
        """Limits of a download that starts now. Raises ValueError for a setting of another form."""
        seconds = settings.load().download_max_seconds
        return cls(size_setting, getattr(settings.load(), size_setting), time.monotonic() + seconds)

    def check(self, shown: str, size: int) -> None:
        """Raise DownloadError for a size, or at a time, that is over the limit."""
        if size > self.max_mb * 1_000_000:
            raise DownloadError(
                f"{shown} is larger than {self.max_mb} MB; if it is the right file, set "
                f"{settings.variable(self.size_setting)} to more"
            )
        if time.monotonic() > self.deadline:
            seconds = settings.load().download_max_seconds
            raise DownloadError(
                f"{shown} did not arrive within {seconds} s; if the connection is "
                "slow, set TAXI_DOWNLOAD_MAX_SECONDS to more"
            )


def download(
    address: str,
    path: UPath,
    *,
    check: Callable[[str, bytes, bytes], None] = lambda address, head, tail: None,
    backoff: Backoff = Backoff(),
    stop: threading.Event | None = None,
    size_setting: str = "download_max_mb",
) -> Download:
    """Fetch a file unless the publisher's is the one that is already at `path`.

    `check` gets the address and the first and last bytes, and raises DownloadError if the content
    is not what it should be. Raises NotPublished (404, no such local file; Forbidden for 403),
    DownloadError, or after the last attempt TransientError. `path` holds a whole and checked file
    or what it held before. `stop` set ends the download with DownloadError; so does a file that is
    larger than the megabytes of `size_setting`, or not there in TAXI_DOWNLOAD_MAX_SECONDS, all
    attempts together.
    """
    import tenacity

    known = SourceMetadata.load_verified(path)
    if known and without_secrets(known.address) != without_secrets(address):
        known = None
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(TransientError),
        stop=tenacity.stop_after_attempt(backoff.attempts),
        wait=_wait(backoff),
        sleep=tenacity.sleep_using_event(stop or threading.Event()),
        reraise=True,
    )
    limits = Limits.start(size_setting)
    return attempts(_attempt, address, path, known, check, limits, stop or threading.Event())


def fetch_version(address: str) -> Version:
    """What the publisher says about a file, without fetching it. Raises as `download` does."""
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


def discard(path: UPath) -> None:
    """Have the next download fetch a file again, though its publisher has not changed it.

    The metadata stays, as one of other content: the sensor then finds the month not loaded.
    """
    if metadata := SourceMetadata.load(path):
        _write_metadata(path, replace(metadata, bytes=-1, sha256=""))


def is_parquet(address: str, head: bytes, tail: bytes) -> None:
    """A check for `download`: Parquet begins and ends with the bytes PAR1."""
    if head.startswith(ENCRYPTED_PARQUET):
        raise DownloadError(f"{address} is an encrypted Parquet file; expected one in clear")
    if not head.startswith(PARQUET):
        raise DownloadError(
            f"{address} is not a Parquet file: it begins with {head[:20]!r}, expected b'PAR1'"
        )
    if len(head) < SMALLEST_PARQUET:  # `head` is all of it
        raise DownloadError(
            f"{address} is not a whole Parquet file: it has {len(head)} bytes, expected at least "
            f"{SMALLEST_PARQUET}"
        )
    if not tail.endswith(PARQUET):
        raise DownloadError(
            f"{address} is not a whole Parquet file: it ends with {tail[-4:]!r}, expected b'PAR1'"
        )


def _attempt(
    address: str,
    path: UPath,
    known: SourceMetadata | None,
    check: Callable[[str, bytes, bytes], None],
    limits: Limits,
    stop: threading.Event,
) -> Download:
    shown = without_secrets(address)
    limits.check(shown, 0)
    with _open(address, known, limits.deadline) as (version, chunks):
        if chunks is None and known:
            if known.address != shown:
                known = replace(known, address=shown)
                _write_metadata(path, known)
            return Download(known, fetched=False)
        limits.check(shown, version.bytes or 0)
        digest, size, head, tail = hashlib.sha256(), 0, b"", b""
        with _disk_full_explained(path), storage.atomic_open(path) as file:
            for chunk in chunks or ():
                if stop.is_set():
                    raise DownloadError(f"{shown}: stopped")
                size += len(chunk)
                limits.check(shown, size)
                file.write(chunk)
                digest.update(chunk)
                head = head if len(head) == 64 else (head + chunk)[:64]
                tail = (tail + chunk[-64:])[-64:]
            if version.bytes not in (None, size):
                raise TransientError(f"{shown}: got {size} of {version.bytes} bytes")
            check(shown, head, tail)
            # Without a metadata the file counts as unknown, so none may be there for the old one.
            storage.remove(_metadata_path(path))
    metadata = SourceMetadata(shown, version, size, digest.hexdigest())
    with _disk_full_explained(path):
        _write_metadata(path, metadata)
    return Download(metadata, fetched=True)


@contextmanager
def _open(
    address: str, known: SourceMetadata | None, deadline: float
) -> Iterator[tuple[Version, Iterator[bytes] | None]]:
    """The file's version and content; no content where it is the known version."""
    if local := _local_path(address):
        version = _local_version(address, local)
        if known and known.version == version:
            yield version, None
            return
        with open(local, "rb") as file:
            yield version, iter(lambda: file.read(CHUNK_BYTES), b"")
        return
    headers = dict(IDENTITY)
    if known and known.version.etag:
        headers["If-None-Match"] = known.version.etag
    elif known and known.version.last_modified:
        headers["If-Modified-Since"] = known.version.last_modified
    with _response("GET", address, headers, deadline) as response:
        # Of what is there already: `iter_content` waits for a whole chunk, from a server that sends
        # a byte now and then for as long as that takes.
        chunks = iter(lambda: response.raw.read1(CHUNK_BYTES, decode_content=True), b"")
        yield _http_version(response), None if response.status_code == 304 else chunks


@contextmanager
def _response(
    method: str, address: str, headers: dict[str, str], deadline: float
) -> Iterator["requests.Response"]:
    """The publisher's answer, its body unread. Raises as `download` does."""
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
            _raise_for_status(response, shown, method)
            yield response


def _result_by(deadline: float, call: Callable[[], "requests.Response"]) -> "requests.Response":
    """What a call returns. Raises TimeoutError where it does not by the deadline.

    A server that sends a header now and then keeps within each timeout of requests.
    """
    future: Future[requests.Response] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result(max(0, deadline - time.monotonic()))


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
    """Why no connection came about, without urllib3's pools, objects and repeated address."""
    cause = error.args[0] if error.args and isinstance(error.args[0], Exception) else error
    cause = getattr(cause, "reason", None) or cause
    text = without_secrets(str(cause))
    return text.partition("): ")[2] or text


class _NoHead(DownloadError):
    """The server does not answer HEAD."""


def _raise_for_status(response: "requests.Response", address: str, method: str) -> None:
    status, wait = response.status_code, _retry_after(response.headers.get("Retry-After", ""))
    if status == FORBIDDEN:
        raise Forbidden(f"{address} is not published, or refused (HTTP 403)", wait)
    if status == NOT_FOUND:
        raise NotPublished(f"{address} is not published (HTTP 404)")
    if status == TOO_MANY_REQUESTS:
        raise Blocked(f"{address}: HTTP 429, too many requests", wait)
    if status in TRANSIENT:
        raise TransientError(f"{address}: HTTP {status}", wait)
    if method == "HEAD" and status in NO_HEAD:
        raise _NoHead(f"{address}: HTTP {status}")
    if status not in (200, 206, 304):
        raise DownloadError(f"{address}: HTTP {status} {response.reason}")


def _retry_after(value: str) -> float | None:
    """The seconds of a Retry-After, which has seconds or a date; None where it has neither."""
    if value.isdecimal() and len(value) < 10:
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):  # no date, or one without a zone
        return None


def _http_version(response: "requests.Response") -> Version:
    return Version(
        etag=response.headers.get("ETag"),
        last_modified=response.headers.get("Last-Modified"),
        bytes=_file_bytes(response),
    )


def _file_bytes(response: "requests.Response") -> int | None:
    """The length of the file, where the answer says it.

    Of an answer that is compressed although identity was asked for, the length is another one.
    """
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        return None
    length = response.headers.get("Content-Length", "")
    if response.status_code == 206:
        length = response.headers.get("Content-Range", "").rpartition("/")[2]
    return int(length) if length.isdecimal() and len(length) < 20 else None


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
        source = path.parent.parent  # which a file system that is not mounted does not have
        if not source.is_dir():
            raise DownloadError(f"{address}: there is no folder {source}") from None
        raise NotPublished(f"{address} is not published (no such file)") from None
    except OSError as error:
        raise DownloadError(f"{address} cannot be read ({error.strerror})") from None
    if not S_ISREG(stat.st_mode):
        raise DownloadError(f"{address} is a folder or a device; expected a file")
    return Version(last_modified=str(stat.st_mtime_ns), bytes=stat.st_size)


@contextmanager
def _disk_full_explained(path: UPath) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in storage.DISK_FULL:
            raise
        raise DownloadError(
            f"no space left on {path.parent} for {path.name}; free some, then try again"
        ) from error


def _write_metadata(path: UPath, metadata: SourceMetadata) -> None:
    storage.write_text(_metadata_path(path), json.dumps(asdict(metadata), indent=2) + "\n")


def _metadata_path(path: UPath) -> UPath:
    return path.with_name(f"{path.name}.source.json")


def _wait(backoff: Backoff) -> "Callable[[tenacity.RetryCallState], float]":
    import tenacity

    exponential = tenacity.wait_exponential_jitter(
        multiplier=backoff.first_wait_seconds,
        max=backoff.longest_wait_seconds,
        jitter=backoff.first_wait_seconds,
    )

    def seconds(state: "tenacity.RetryCallState") -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.wait_seconds if isinstance(error, TransientError) else None
        return exponential(state) if asked is None else min(asked, backoff.longest_wait_seconds)

    return seconds
