"""Files from their publisher to the data root: streamed, checked, retried, moved into place.

A publisher is an http(s) address or a local folder; both answer the same questions.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from upath import UPath

from taxi_shared import settings, storage
from taxi_shared.secrets import secret

if TYPE_CHECKING:
    # Imported by the functions that use them: every run imports this module, few download.
    import requests
    import tenacity

CHUNK_BYTES = 1 << 20
CONNECT_SECONDS, READ_SECONDS = 10, 60
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
    """Where a file of the data root came from: kept beside it as `<name>.source.json`."""

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


def download(
    address: str,
    path: UPath,
    *,
    check: Callable[[str, bytes, bytes], None] = lambda address, head, tail: None,
    patience: Patience = Patience(),
    stop: threading.Event | None = None,
) -> Download:
    """Fetch a file unless the publisher's is the one that is already at `path`.

    `check` gets the address and the first and last bytes, and raises DownloadError if the content
    is not what it should be. Raises NotPublished (403, 404, no such local file), DownloadError, or
    after the last attempt TransientError. `path` holds a whole and checked file or what it held
    before. `stop` set ends the download with DownloadError.
    """
    import tenacity

    known = Receipt.of(path)
    if known and known.address != address:
        known = None
    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(TransientError),
        stop=tenacity.stop_after_attempt(patience.attempts),
        wait=_wait(patience),
        sleep=tenacity.sleep_using_event(stop or threading.Event()),
        reraise=True,
    )
    return attempts(_attempt, address, path, known, check, stop or threading.Event())


def look(address: str) -> Version:
    """What the publisher says about a file, without fetching it. Raises as `download` does."""
    if "://" in address:
        import requests

        with _transient_errors(address):
            response = requests.head(
                address,
                headers=_authorization(address),
                timeout=(CONNECT_SECONDS, READ_SECONDS),
                allow_redirects=True,
            )
        _raise_for_status(response, address)
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
    stop: threading.Event,
) -> Download:
    with _open(address, known) as (version, chunks):
        if chunks is None and known:
            return Download(known, fetched=False)
        digest, size, head, tail = hashlib.sha256(), 0, b"", b""
        with storage.atomic_open(path) as file:
            for chunk in chunks or ():
                if stop.is_set():
                    raise DownloadError(f"{address}: stopped")
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
                head = head or chunk[:64]
                tail = (tail + chunk[-64:])[-64:]
            if version.bytes not in (None, size):
                raise TransientError(f"{address}: got {size} of {version.bytes} bytes")
            check(address, head, tail)
            # Without a receipt the file counts as unknown, so none may be there for the old one.
            _receipt_path(path).unlink(missing_ok=True)
    receipt = Receipt(address, version, size, digest.hexdigest())
    storage.write_text(_receipt_path(path), json.dumps(asdict(receipt), indent=2) + "\n")
    return Download(receipt, fetched=True)


@contextmanager
def _open(address: str, known: Receipt | None) -> Iterator[tuple[Version, Iterator[bytes] | None]]:
    """The file's version and content; no content where it is the known version."""
    if "://" not in address:
        version = _local_version(address)
        if known and known.version == version:
            yield version, None
            return
        with open(address, "rb") as file:
            yield version, iter(lambda: file.read(CHUNK_BYTES), b"")
        return
    import requests

    # Compressed in transit, the length of the file would not be the length of the body.
    headers = {"Accept-Encoding": "identity", **_authorization(address)}
    if known and known.version.etag:
        headers["If-None-Match"] = known.version.etag
    elif known and known.version.last_modified:
        headers["If-Modified-Since"] = known.version.last_modified
    with (
        _transient_errors(address),
        requests.get(
            address, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)
        ) as response,
    ):
        _raise_for_status(response, address)
        body = response.iter_content(CHUNK_BYTES)
        yield _http_version(response), None if response.status_code == 304 else body


def _authorization(address: str) -> dict[str, str]:
    """The header for a mirror of TLC's files that wants a token; nobody else is sent it."""
    source = settings.get(settings.SOURCE_URL).rstrip("/")
    if not address.startswith(f"{source}/"):
        return {}
    token = secret(settings.SOURCE_TOKEN)
    return {"Authorization": f"Bearer {token}"} if token else {}


@contextmanager
def _transient_errors(address: str) -> Iterator[None]:
    import requests

    try:
        yield
    except (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
    ) as error:
        raise TransientError(f"{address}: {error}") from error
    except requests.RequestException as error:
        raise DownloadError(f"{address}: {error}") from error


def _raise_for_status(response: "requests.Response", address: str) -> None:
    status = response.status_code
    if status in NOT_THERE:
        raise NotPublished(f"{address} is not published (HTTP {status})")
    if status in TRANSIENT:
        wait = response.headers.get("Retry-After", "")
        raise TransientError(f"{address}: HTTP {status}", float(wait) if wait.isdigit() else None)
    if status not in (200, 304):
        raise DownloadError(f"{address}: HTTP {status} {response.reason}")


def _http_version(response: "requests.Response") -> Version:
    length = response.headers.get("Content-Length")
    return Version(
        etag=response.headers.get("ETag"),
        last_modified=response.headers.get("Last-Modified"),
        bytes=int(length) if length and length.isdigit() else None,
    )


def _local_version(address: str) -> Version:
    path = Path(address)
    if not path.is_file():
        raise NotPublished(f"{address} is not published (no such file)")
    stat = path.stat()
    return Version(last_modified=str(stat.st_mtime_ns), bytes=stat.st_size)


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
