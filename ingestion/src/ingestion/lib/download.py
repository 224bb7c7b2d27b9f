"""Files from their publisher to the data root: streamed, checked, retried, moved into place.

A publisher is an http(s) address or a local folder; both answer the same questions.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

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
CONNECT_SECONDS, READ_SECONDS = 10, 60
HEAD_SECONDS = 90
NOT_THERE = (403, 404)  # TLC's server answers 403 for a file that does not exist
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)


class DownloadError(Exception):
    """A file could not be fetched; trying again would not help."""


class NotPublished(DownloadError):
    """The publisher does not have the file (yet)."""


class TransientError(DownloadError):
    """A failure that may pass: worth another try after `wait_seconds`, or after the usual time."""

    def __init__(self, message: str, wait_seconds: float | None = None) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


@dataclass(frozen=True)
class Version:
    """What a publisher says about the present version of a file; None where it says nothing."""

    etag: str | None = None
    last_modified: str | None = None
    bytes: int | None = None

    def is_same_as(self, other: "Version") -> bool:
        """By the ETag where both have one, otherwise by time and length."""
        if self.etag and other.etag:
            return self.etag == other.etag
        return (self.last_modified, self.bytes) == (other.last_modified, other.bytes)


@dataclass(frozen=True)
class Receipt:
    """Where a file of the data root came from: kept beside it as `<name>.source.json`.

    The address is without secrets; that of a receipt by an older version may have some.
    """

    address: str
    version: Version
    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: UPath) -> "Receipt | None":
        """The receipt of a file; None where there is none or the file is not as it says."""
        receipt = cls.kept(path)
        if receipt is None or not path.is_file() or path.stat().st_size != receipt.bytes:
            return None
        return receipt

    @classmethod
    def kept(cls, path: UPath) -> "Receipt | None":
        """The receipt beside a file, whether the file is still there or not."""
        try:
            values = json.loads(storage.read_bytes(_receipt_path(path)))
        except FileNotFoundError:
            return None
        return cls(**{**values, "version": Version(**values["version"])})


@dataclass(frozen=True)
class Download:
    """The outcome: the receipt, and whether the file was fetched or had not changed."""

    receipt: Receipt
    fetched: bool


@dataclass(frozen=True)
class Patience:
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
        seconds = settings.positive(settings.DOWNLOAD_MAX_SECONDS)
        return cls(size_setting, settings.positive(size_setting), time.monotonic() + seconds)

    def check(self, shown: str, size: int) -> None:
        """Raise DownloadError for a size, or at a time, that is over the limit."""
        if size > self.max_mb * 1_000_000:
            raise DownloadError(
                f"{shown} is larger than {self.max_mb} MB; if it is the right file, set "
                f"{self.size_setting} to more"
            )
        if time.monotonic() > self.deadline:
            setting = settings.DOWNLOAD_MAX_SECONDS
            raise DownloadError(
                f"{shown} did not arrive within {settings.get(setting)} s; if the connection is "
                f"slow, set {setting} to more"
            )


def download(
    address: str,
    path: UPath,
    *,
    check: Callable[[str, bytes, bytes], None] = lambda address, head, tail: None,
    patience: Patience = Patience(),
    stop: threading.Event | None = None,
    size_setting: str = settings.DOWNLOAD_MAX_MB,
) -> Download:
    """Fetch a file unless the publisher's is the one that is already at `path`.

    `check` gets the address and the first and last bytes, and raises DownloadError if the content
    is not what it should be. Raises NotPublished (403, 404, no such local file), DownloadError, or
    after the last attempt TransientError. `path` holds a whole and checked file or what it held
    before. `stop` set ends the download with DownloadError; so does a file that is larger than the
    megabytes of `size_setting`, or not there in TAXI_DOWNLOAD_MAX_SECONDS, all attempts together.
    """
    import tenacity

    known = Receipt.of(path)
    if known and without_secrets(known.address) != without_secrets(address):
        known = None
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(TransientError),
        stop=tenacity.stop_after_attempt(patience.attempts),
        wait=_wait(patience),
        sleep=tenacity.sleep_using_event(stop or threading.Event()),
        reraise=True,
    )
    limits = Limits.start(size_setting)
    return attempts(_attempt, address, path, known, check, limits, stop or threading.Event())


def look(address: str) -> Version:
    """What the publisher says about a file, without fetching it. Raises as `download` does."""
    if "://" in address:
        deadline = time.monotonic() + HEAD_SECONDS
        with _response("HEAD", address, {}, deadline) as response:
            return _http_version(response)
    return _local_version(address)


def is_parquet(address: str, head: bytes, tail: bytes) -> None:
    """A check for `download`: Parquet begins and ends with the bytes PAR1."""
    if not head.startswith(b"PAR1"):
        raise DownloadError(
            f"{address} is not a Parquet file: it begins with {head[:20]!r}, expected b'PAR1'"
        )
    if not tail.endswith(b"PAR1"):
        raise DownloadError(
            f"{address} is not a whole Parquet file: it ends with {tail[-4:]!r}, expected b'PAR1'"
        )


def _attempt(
    address: str,
    path: UPath,
    known: Receipt | None,
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
                _write_receipt(path, known)
            return Download(known, fetched=False)
        limits.check(shown, version.bytes or 0)
        digest, size, head, tail = hashlib.sha256(), 0, b"", b""
        with storage.atomic_open(path) as file:
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
            # Without a receipt the file counts as unknown, so none may be there for the old one.
            _receipt_path(path).unlink(missing_ok=True)
    receipt = Receipt(shown, version, size, digest.hexdigest())
    _write_receipt(path, receipt)
    return Download(receipt, fetched=True)


@contextmanager
def _open(
    address: str, known: Receipt | None, deadline: float
) -> Iterator[tuple[Version, Iterator[bytes] | None]]:
    """The file's version and content; no content where it is the known version."""
    if "://" not in address:
        version = _local_version(address)
        if known and known.version == version:
            yield version, None
            return
        with open(address, "rb") as file:
            yield version, iter(lambda: file.read(CHUNK_BYTES), b"")
        return
    # Compressed in transit, the length of the file would not be the length of the body.
    headers = {"Accept-Encoding": "identity"}
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
            _raise_for_status(response, shown)
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

    source = settings.get(settings.SOURCE_URL)
    token = secret(settings.SOURCE_TOKEN) if is_below(address, source) else ""
    try:
        return Credentials(f"Bearer {token}", source) if token else Credentials.in_address(address)
    except UnsafeCredentials as error:
        names = (settings.SOURCE_TOKEN,) if token else (settings.SOURCE_URL, settings.ZONES_URL)
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
        raise TransientError(f"{shown}: {without_secrets(str(error))}") from None
    except requests.RequestException as error:
        raise DownloadError(f"{shown}: {without_secrets(str(error))}") from None


def _raise_for_status(response: "requests.Response", address: str) -> None:
    status = response.status_code
    if status in NOT_THERE:
        raise NotPublished(f"{address} is not published (HTTP {status})")
    if status in TRANSIENT:
        wait = response.headers.get("Retry-After", "")
        raise TransientError(f"{address}: HTTP {status}", float(wait) if wait.isdecimal() else None)
    if status not in (200, 304):
        raise DownloadError(f"{address}: HTTP {status} {response.reason}")


def _http_version(response: "requests.Response") -> Version:
    length = response.headers.get("Content-Length")
    return Version(
        etag=response.headers.get("ETag"),
        last_modified=response.headers.get("Last-Modified"),
        bytes=int(length) if length and length.isdecimal() and len(length) < 20 else None,
    )


def _local_version(address: str) -> Version:
    path = Path(address)
    if not path.is_file():
        raise NotPublished(f"{address} is not published (no such file)")
    stat = path.stat()
    return Version(last_modified=str(stat.st_mtime_ns), bytes=stat.st_size)


def _write_receipt(path: UPath, receipt: Receipt) -> None:
    storage.write_text(_receipt_path(path), json.dumps(asdict(receipt), indent=2) + "\n")


def _receipt_path(path: UPath) -> UPath:
    return path.with_name(f"{path.name}.source.json")


def _wait(patience: Patience) -> "Callable[[tenacity.RetryCallState], float]":
    import tenacity

    backoff = tenacity.wait_exponential_jitter(
        multiplier=patience.first_wait_seconds,
        max=patience.longest_wait_seconds,
        jitter=patience.first_wait_seconds,
    )

    def seconds(state: "tenacity.RetryCallState") -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.wait_seconds if isinstance(error, TransientError) else None
        return backoff(state) if asked is None else min(asked, patience.longest_wait_seconds)

    return seconds
