"""Download files into `raw/`: streamed, checked, retried, and moved into place when whole.

Beside each file is a document, `<name>.source.json`, that says where it came from.
"""

import hashlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING

from upath import UPath

from ingestion.lib.published_files import (
    DownloadError,
    TransientError,
    Version,
    open_file,
    start,
)
from taxi_shared import settings, storage
from taxi_shared.addresses import without_secrets

if TYPE_CHECKING:
    # Imported by the functions that use it: every run imports this module, few download.
    import tenacity

HEAD_BYTES, TAIL_BYTES = 64, 1 << 20  # of a file, for its check
SPEED_SECONDS = 60  # over which the speed of a download is measured
STOP_POLL_SECONDS, STOP_GRACE_SECONDS = 0.1, 1.0
PARQUET_MAGIC, ENCRYPTED_MAGIC = b"PAR1", b"PARE"
SMALLEST_PARQUET = 12  # the magic twice, and the length of the footer


@dataclass(frozen=True)
class SourceMetadata:
    """Where a file of the data root came from: kept beside it as `<name>.source.json`.

    The address is without secrets; a document of an older release may have some.
    """

    address: str
    version: Version
    bytes: int
    sha256: str

    @classmethod
    def load_verified(cls, path: UPath) -> "SourceMetadata | None":
        """Load the metadata of a file; None where there is none or the file has another size."""
        metadata = cls.load(path)
        if metadata is None or not path.is_file() or path.stat().st_size != metadata.bytes:
            return None
        return metadata

    @classmethod
    def load(cls, path: UPath) -> "SourceMetadata | None":
        """Load the metadata beside a file, whether the file is still there or not.

        None where there is none, or none that can be read: the file is then fetched again.
        """
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(cls).validate_json(storage.read_bytes(_metadata_path(path)))
        except (FileNotFoundError, ValidationError):
            return None

    def save(self, path: UPath) -> None:
        """Write the metadata beside the file at `path`."""
        storage.write_text(_metadata_path(path), json.dumps(asdict(self), indent=2) + "\n")


@dataclass(frozen=True)
class Download:
    """The outcome: the file's metadata, and whether it was fetched or had not changed."""

    metadata: SourceMetadata
    fetched: bool


@dataclass(frozen=True)
class FileFormat:
    """What a downloaded file has to be.

    check:        gets the address, the first 64 bytes and the last MiB, and raises DownloadError
                  for other content than expected
    size_setting: the field of Settings with the largest size in MB
    """

    check: Callable[[str, bytes, bytes], None] = lambda address, head, tail: None
    size_setting: str = "download_max_mb"


@dataclass(frozen=True)
class Backoff:
    """How often to try, and how long to wait: doubling from `first_wait_seconds`.

    stop: set by another thread, ends the waits and the download with DownloadError
    """

    attempts: int = 5
    first_wait_seconds: float = 1.0
    longest_wait_seconds: float = 60.0
    stop: threading.Event = field(default_factory=threading.Event, compare=False)

    def seconds(self, state: "tenacity.RetryCallState") -> float:
        """The wait after a failed attempt: what the server asks for, else the doubled one."""
        import tenacity

        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, TransientError) and error.wait_seconds is not None:
            return min(error.wait_seconds, self.longest_wait_seconds)
        first = self.first_wait_seconds
        doubled = tenacity.wait_exponential_jitter(
            multiplier=first, max=self.longest_wait_seconds, jitter=first
        )
        return doubled(state)


def is_parquet(address: str, head: bytes, tail: bytes) -> None:
    """A FileFormat's check: Parquet begins and ends with the bytes PAR1, and has a footer."""
    if head.startswith(ENCRYPTED_MAGIC):
        raise DownloadError(f"{address} is an encrypted Parquet file; expected one in clear")
    if not head.startswith(PARQUET_MAGIC):
        raise DownloadError(
            f"{address} is not a Parquet file: it begins with {head[:20]!r}, expected b'PAR1'"
        )
    if len(head) < SMALLEST_PARQUET:  # `head` is all of it
        raise DownloadError(
            f"{address} is not a whole Parquet file: it has {len(head)} bytes, expected at least "
            f"{SMALLEST_PARQUET}"
        )
    if not tail.endswith(PARQUET_MAGIC):
        raise DownloadError(
            f"{address} is not a whole Parquet file: it ends with {tail[-4:]!r}, expected b'PAR1'"
        )
    _check_footer(address, tail)


def _check_footer(address: str, tail: bytes) -> None:
    """Raise DownloadError for a footer that cannot be read; one of over a MiB is not tried.

    DuckDB reads a file of the footer alone as it would read the footer of the whole.
    """
    import duckdb

    length = int.from_bytes(tail[-8:-4], "little")
    footer = tail[-length - 8 :]
    if len(footer) < length + 8 and len(tail) >= TAIL_BYTES:
        return
    with TemporaryDirectory(prefix=storage.SPILL_PREFIX) as folder, duckdb.connect() as con:
        file = Path(folder, "footer.parquet")
        file.write_bytes(PARQUET_MAGIC + footer)
        try:
            con.execute("FROM parquet_schema($file)", {"file": storage.literal(str(file))})
        except duckdb.Error as error:
            reason = str(error).partition("\n")[0].replace(str(file), "footer")
            raise DownloadError(f"{address} has a damaged footer: {reason}") from None


PARQUET = FileFormat(is_parquet)


def download(
    address: str,
    path: UPath,
    expected: FileFormat = FileFormat(),
    backoff: Backoff = Backoff(),
) -> Download:
    """Fetch a file, unless the publisher's version of it is already at `path`.

    `path` holds a whole and checked file or what it held before. Raises NotPublished, Forbidden
    (HTTP 403), DownloadError (also for a file larger than its format allows, or not there within
    TAXI_DOWNLOAD_MAX_SECONDS, all attempts together), or TransientError after the last attempt.

    An attempt slower than TAXI_DOWNLOAD_MIN_KB_PER_SECOND over a minute fails.
    """
    import tenacity

    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(TransientError),
        stop=tenacity.stop_after_attempt(backoff.attempts),
        wait=backoff.seconds,
        sleep=tenacity.sleep_using_event(backoff.stop),
        reraise=True,
    )
    transfer = _Transfer.start(address, path, expected, backoff.stop)
    return _until_stopped(backoff.stop, partial(attempts, transfer.attempt), transfer.shown)


def _until_stopped(stop: threading.Event, call: Callable[[], Download], shown: str) -> Download:
    """The result of a call, which has its own thread. Raises DownloadError once `stop` is set.

    The call is given a moment to end by itself, and otherwise left alone: no thread can be
    interrupted while it waits for a server or for a disk.
    """
    future = start(call)
    try:
        while not stop.is_set() and wait([future], STOP_POLL_SECONDS).not_done:
            continue
        is_done = bool(wait([future], STOP_GRACE_SECONDS).done)
    except BaseException:  # the run was cancelled
        stop.set()
        raise
    if not is_done:
        raise DownloadError(f"{shown}: stopped")
    return future.result()


def discard(path: UPath) -> None:
    """Have the next download fetch a file again, though its publisher has not changed it.

    Its metadata stays, as that of other content: the sensor then finds the month not loaded.
    """
    if metadata := SourceMetadata.load(path):
        replace(metadata, bytes=-1, sha256="").save(path)


@dataclass(frozen=True)
class _Transfer:
    """A file on its way, and its limits: the deadline is in seconds of `time.monotonic`."""

    address: str
    path: UPath
    expected: FileFormat
    stop: threading.Event
    known: SourceMetadata | None
    max_mb: int
    max_seconds: int
    deadline: float

    @classmethod
    def start(
        cls, address: str, path: UPath, expected: FileFormat, stop: threading.Event
    ) -> "_Transfer":
        known = SourceMetadata.load_verified(path)
        if known and without_secrets(known.address) != without_secrets(address):
            known = None
        current = settings.load()
        max_mb, max_seconds = getattr(current, expected.size_setting), current.download_max_seconds
        deadline = time.monotonic() + max_seconds
        return cls(address, path, expected, stop, known, max_mb, max_seconds, deadline)

    @property
    def shown(self) -> str:
        return without_secrets(self.address)

    def attempt(self) -> Download:
        """Fetch the file once; if it has not changed, the file in place stays."""
        self._check_limits(0)
        version_in_place = self.known.version if self.known else None
        with open_file(self.address, version_in_place, self.deadline) as (version, chunks):
            if chunks is None and self.known:
                return Download(self._with_shown_address(self.known), fetched=False)
            self._check_limits(version.bytes or 0)
            with _disk_full_explained(self.path):
                with storage.atomic_open(self.path) as file:
                    metadata = self._copy(chunks or (), version, file)
                    # The old metadata must not be there for the new file. A file without any is
                    # fetched again.
                    storage.remove(_metadata_path(self.path))
                metadata.save(self.path)
        return Download(metadata, fetched=True)

    def _with_shown_address(self, known: SourceMetadata) -> SourceMetadata:
        """The metadata in place, rewritten where an older release wrote secrets into it."""
        if known.address != self.shown:
            known = replace(known, address=self.shown)
            known.save(self.path)
        return known

    def _copy(self, chunks: Iterable[bytes], version: Version, file: IO[bytes]) -> SourceMetadata:
        digest, size, head = hashlib.sha256(), 0, b""
        speed, tail, kept_from = _Speed(self.shown), deque[bytes](), 0
        for chunk in chunks:
            size += len(chunk)
            self._check_limits(size)
            speed.check(size)
            file.write(chunk)
            digest.update(chunk)
            head = head if len(head) == HEAD_BYTES else (head + chunk)[:HEAD_BYTES]
            tail.append(chunk)
            while size - kept_from - len(tail[0]) >= TAIL_BYTES:
                kept_from += len(tail.popleft())
        if version.bytes not in (None, size):
            raise TransientError(f"{self.shown}: got {size} of {version.bytes} bytes")
        self.expected.check(self.shown, head, b"".join(tail))
        self._check_limits(size)
        return SourceMetadata(self.shown, version, size, digest.hexdigest())

    def _check_limits(self, size: int) -> None:
        """Raise DownloadError for a size, or at a time, that is over the limit, or if stopped."""
        if self.stop.is_set():
            raise DownloadError(f"{self.shown}: stopped")
        if size > self.max_mb * 1_000_000:
            raise DownloadError(
                f"{self.shown} is larger than {self.max_mb} MB; if it is the right file, set "
                f"{settings.variable(self.expected.size_setting)} to more"
            )
        if time.monotonic() > self.deadline:
            raise DownloadError(
                f"{self.shown} did not arrive within {self.max_seconds} s; if the connection is "
                "slow, set TAXI_DOWNLOAD_MAX_SECONDS to more"
            )


@dataclass
class _Speed:
    """The speed of a download, measured over a minute at a time."""

    shown: str
    begin: float = field(default_factory=time.monotonic)
    size: int = 0

    def check(self, size: int) -> None:
        """Raise TransientError for a file that was too slow in the last minute."""
        seconds = time.monotonic() - self.begin
        if seconds < SPEED_SECONDS:
            return
        found = (size - self.size) / 1000 / seconds
        least = settings.load().download_min_kb_per_second
        if found < least:
            raise TransientError(
                f"{self.shown}: {found:.1f} kB/s in the last {seconds:.0f} s, expected at least "
                f"{least:g}; if the connection is slow, set "
                "TAXI_DOWNLOAD_MIN_KB_PER_SECOND to less"
            )
        self.begin, self.size = time.monotonic(), size


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


def _metadata_path(path: UPath) -> UPath:
    return path.with_name(f"{path.name}.source.json")
