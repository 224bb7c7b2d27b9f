"""The data root: the place of every file of the platform, a local folder or a bucket of a store.

Writes are atomic: a reader sees the old file or the new one, also after a loss of power, as local
files are on the disk before they get their names.
"""

import errno
import fcntl
import logging
import os
import re
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from upath import UPath

from taxi_shared import settings, stores
from taxi_shared.addresses import without_secrets

if TYPE_CHECKING:
    import duckdb

# The fields of a listing that differ between versions of an object on S3 or of a local file.
# (`created` is its ctime, which changes even in a copy that keeps time and size.)
_VERSION = ("size", "ETag", "LastModified", "mtime", "created", "ino")
# The same for objects elsewhere: Google's and Azure's name of it.
_ETAG = "etag"
# When a file was written: on S3, Azure, Google and this machine.
_MODIFIED = ("LastModified", "last_modified", "mtime")

# As `max_runtime_seconds` of dagster.yaml: no process writes a file for longer.
LONGEST_RUN = timedelta(hours=6)

APPEARS_TRIES, APPEARS_SECONDS = 10, 0.1

# Characters that a reader misunderstands in a prefix of a bucket: fsspec and DuckDB take some for a
# pattern, DuckDB takes `?` for options and `\\` for a separator, and lists nothing below `&`.
_NOT_IN_BUCKETS = frozenset("*?[]&\\")
# DuckDB takes it for a separator in patterns.
_NOT_IN_FOLDERS = frozenset("\\")
# `deltalake` reads `a%20b` as `a b`, and looks for the lake there.
_ESCAPED = re.compile("%[0-9A-Fa-f]{2}")

_ANY_NAME = re.compile(".*")
_PARTIAL_NAME = re.compile(r"\..+\.[0-9a-f]{32}\.partial")
SPILL_PREFIX = "taxi-duckdb-"
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataRoot:
    """Paths below one root.

    raw/       files as their publisher made them
    staging/   tables of the lake, and results that assets pass to each other
    outputs/   results for people
    requests/  requests for reports
    """

    base: UPath

    @classmethod
    def at(cls, address: str) -> "DataRoot":
        """Return the data root at a folder or at a URL such as `s3://bucket/prefix`.

        Raises ValueError for an address that cannot be used.
        """
        base = path_at(address)
        if is_local(base) and base.exists() and not base.is_dir():
            raise ValueError(f"TAXI_DATA_ROOT is {address!r}, a file; expected a folder")
        return cls(base)

    def check(self) -> None:
        """Check that the root can be used; a local folder need not exist yet.

        Raises StoreError if it is a bucket that cannot be listed, ValueError if a folder is not
        writable.
        """
        if store := stores.store_of(self.base):
            store.check(self.base)
        elif is_local(self.base):
            _check_writable(Path(str(self.base)))

    def attach(self, con: "duckdb.DuckDBPyConnection") -> None:
        """Let a DuckDB connection read and write the files of this root.

        Call it again for a connection that stays open, to renew temporary keys.
        """
        if store := stores.store_of(self.base):
            store.attach(con, self.base)

    @property
    def raw(self) -> UPath:
        """Files as their publisher made them."""
        return self.base / "raw"

    @property
    def staging(self) -> UPath:
        """Tables of the lake, and results that assets pass to each other."""
        return self.base / "staging"

    @property
    def outputs(self) -> UPath:
        """Results for people."""
        return self.base / "outputs"

    @property
    def requests(self) -> UPath:
        """Requests for reports."""
        return self.base / "requests"

    @property
    def loads(self) -> UPath:
        """Claims of runs on the months that they load."""
        return self.staging / "loads"

    @property
    def engines(self) -> UPath:
        """Folders of jobs elsewhere: questions and answers."""
        return self.base / "engines"


def path_at(address: str, setting: str = "TAXI_DATA_ROOT") -> UPath:
    """Return the path of a local address or of one of a store.

    Raises ValueError, with the name of the setting, for any other address and for one with
    characters that DuckDB or fsspec would misunderstand.
    """
    located = settings.locate(address)
    path = UPath(located)
    store = stores.store_of(path)
    if store and path.path.strip("/"):
        _check_characters(path.path, address, setting, _NOT_IN_BUCKETS)
        if {"", ".", ".."} & {*path.path.rstrip("/").split("/")}:
            raise ValueError(
                f"{setting} is {without_secrets(address)!r}; expected a prefix without empty parts "
                "and without . and .. as parts"
            )
        try:
            return store.path_of(located)
        except ValueError as error:
            raise ValueError(f"{setting}: {error}") from None
    if path.protocol in ("", "memory"):
        _check_characters(located, address, setting, _NOT_IN_FOLDERS)
        return path
    raise ValueError(
        f"{setting}: {without_secrets(address)!r} is not a place of files; expected "
        f"{stores.ACCEPTED}"
    )


def _check_characters(path: str, address: str, setting: str, refused: frozenset[str]) -> None:
    found = next((c for c in path if c in refused or not c.isprintable()), None)
    if found is None and (escaped := _ESCAPED.search(path)):
        found = escaped[0]
    if found is not None:
        raise ValueError(
            f"{setting} is {without_secrets(address)!r}, which contains {found!r}; expected an "
            f"address without {' '.join(sorted(refused))}, control characters and escapes such as "
            "%20"
        )


def _check_writable(folder: Path) -> None:
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK, effective_ids=True):
        raise ValueError(
            f"TAXI_DATA_ROOT is {str(folder)!r}, but {there} is not a folder that this user "
            "can write to: give it to this user, or choose another folder"
        )


def entries_below(folder: UPath) -> dict[UPath, Mapping[str, Any]]:
    """Map the files below a folder, sorted, to their entries in its listing, such as `size`.

    Hidden files, which are being written, are left out. It makes one listing. If that is empty in
    a bucket, it checks the bucket: a missing one must not look empty. Raises StoreError.
    """
    entries: dict[str, Mapping[str, Any]] = {}
    with stores.errors_explained(folder), suppress(FileNotFoundError):  # of Google, for a bucket
        entries = folder.fs.find(folder.path, detail=True)
    if not entries and (store := stores.store_of(folder)):
        store.check(folder)
    start = len(folder.path.rstrip("/")) + 1
    found = {folder / name[start:]: entries[name] for name in sorted(entries)}
    return {path: entry for path, entry in found.items() if not path.name.startswith(".")}


def versions_below(folder: UPath) -> dict[UPath, str]:
    """Map the files below a folder, as `entries_below`, to a text that changes with the file."""
    return {path: version_of(entry) for path, entry in entries_below(folder).items()}


def version_of(entry: Mapping[str, Any]) -> str:
    """Return a short text that differs between versions of a file, from its entry in a listing."""
    version = "\n".join(str(entry.get(field)) for field in _VERSION)
    version += entry.get(_ETAG) or ""
    return blake2b(version.encode(), digest_size=8).hexdigest()


def modified_at(entry: Mapping[str, Any]) -> datetime:
    """Return when a file was written, from its entry in a listing."""
    found = next(entry[field] for field in _MODIFIED if entry.get(field))
    return found if isinstance(found, datetime) else datetime.fromtimestamp(found, UTC)


def is_local(path: UPath) -> bool:
    """Whether a path is on this machine."""
    return path.protocol in ("", "file", "local")


def make_parent(path: UPath) -> None:
    """Make the folder of a file, which buckets do not have."""
    if is_local(path):
        _make_folder(Path(str(path.parent)))


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _fsync(str(folder.parent))


def persist(path: UPath) -> None:
    """Write a local file, and its name in its folder and that folder's, to the disk.

    After a loss of power, a file can else be there without its content.
    """
    if is_local(path):
        for each in (path, path.parent, path.parent.parent):
            _fsync(str(each))


def _fsync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: UPath) -> None:
    """Remove a file if it exists.

    Unlike `UPath.unlink`, it does not take `*`, `?` and `[` in a name in a bucket for a pattern.
    """
    if is_local(path):
        path.unlink(missing_ok=True)
        return
    with suppress(FileNotFoundError), stores.errors_explained(path):
        path.fs.rm_file(path.path)


def copy(source: UPath, target: UPath) -> None:
    """Copy a file; in a bucket, on the server. Raises FileNotFoundError."""
    with stores.errors_explained(source):
        source.fs.cp_file(source.path, target.path)


def literal(path: UPath | str) -> str:
    """Escape a path for DuckDB's readers, which take `*`, `?` and `[` for a pattern."""
    return re.sub(r"([\[*?])", r"[\1]", str(path))


def partial_path(path: UPath) -> UPath:
    """Return a hidden name beside `path` for an incomplete file, unique to each writer."""
    return path.parent / f".{path.name}.{uuid.uuid4().hex}.partial"


@contextmanager
def atomic_path(path: UPath) -> Iterator[str]:
    """Give a program that opens files itself, such as DuckDB, an address to write `path` to.

    That file is hidden. If the block succeeds, it is moved into place: by a rename, or in a bucket
    by one copy on the server.
    """
    partial = partial_path(path)
    try:
        if is_local(path):
            with disk_full_explained(path):
                make_parent(path)
                yield str(partial)
                _fsync(str(partial))
                Path(str(partial)).replace(str(path))
                _fsync(str(path.parent))
        else:
            yield str(partial)
            path.fs.cp_file(partial.path, path.path)
    finally:
        remove(partial)


@contextmanager
def disk_full_explained(path: UPath) -> Iterator[None]:
    """Raise the error of a full disk as an OSError with its number and the path.

    Those of DuckDB and of the library `deltalake` have it in their texts only.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        number = next((each for each in DISK_FULL if os.strerror(each) in str(error)), None)
        if number is None:
            raise
        raise OSError(number, str(error), str(path)) from error


@contextmanager
def atomic_open(path: UPath) -> Iterator[IO[bytes]]:
    """Open a binary file to write; it replaces `path` if the block succeeds."""
    if is_local(path):
        with atomic_path(path) as partial, Path(partial).open("wb") as file:
            yield file
        return
    with stores.errors_explained(path):
        file = path.fs.open(path.path, "wb", autocommit=False)
        try:
            yield file
        except BaseException:
            file.discard()
            file.closed = True  # else its finalizer would write what was discarded
            raise
        file.close()
        file.commit()


def read_bytes(path: UPath) -> bytes:
    """Read a file; in a bucket with one request, so that the content is of one version.

    Opening it would ask for its length first, and fail if it is replaced in between.
    """
    if is_local(path):
        return Path(str(path)).read_bytes()
    with stores.errors_explained(path):
        content: bytes = path.fs.cat_file(path.path)
    return content


def read_text(path: UPath) -> str:
    """Read a file in UTF-8. Raises ValueError, with its path, for other content."""
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is damaged ({error}): materialize it again") from None


def write_bytes(path: UPath, content: bytes) -> None:
    """Replace the file `path` by `content`; in a bucket with one request, unless it is large."""
    if not is_local(path):
        with stores.errors_explained(path):
            path.fs.pipe_file(path.path, content)
        return
    with atomic_open(path) as file:
        file.write(content)


def write_new(path: UPath, content: bytes) -> bool:
    """Write the file `path` if it does not exist; return whether it was written.

    If several writers try at once, one succeeds.
    """
    if not is_local(path):
        try:
            path.fs.pipe_file(path.path, content, mode="create")
        except OSError:
            # Stores raise different errors if the file exists or another writer is creating it;
            # S3's is not a FileExistsError.
            if not _appears(path):
                raise
            return False
        return True
    make_parent(path)
    # A hard link to a partial file would need no lock, but removing the partial file changes the
    # ctime, and the file would look like another version.
    folder = os.open(str(path.parent), os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if path.exists():
            return False
        write_bytes(path, content)
    finally:
        os.close(folder)
    return True


def _appears(path: UPath) -> bool:
    for _ in range(APPEARS_TRIES):
        path.fs.invalidate_cache(path.parent.path)
        if path.fs.exists(path.path):
            return True
        time.sleep(APPEARS_SECONDS)
    return False


def write_text(path: UPath, content: str) -> None:
    """Replace the file `path` by `content`, in UTF-8."""
    write_bytes(path, content.encode())


def sweep(root: DataRoot, older_than: timedelta = LONGEST_RUN) -> list[str]:
    """Remove what killed processes left behind, and return the paths removed.

    That is files and objects with the name of a `partial_path`, incomplete uploads, the claims of
    loads, the folders of jobs elsewhere, and DuckDB's folders in the temporary directory. What
    cannot be removed is logged. Raises StoreError.
    """
    before = datetime.now(UTC) - older_than
    removed = _sweep_spilled(before.timestamp())
    folders = dict.fromkeys((root.raw, root.staging, root.outputs, root.requests), _PARTIAL_NAME)
    for folder, name in (folders | dict.fromkeys((root.loads, root.engines), _ANY_NAME)).items():
        if is_local(folder):
            removed += _sweep_folder(str(folder), name, before.timestamp())
        elif store := stores.store_of(folder):
            with store.errors_explained(folder):
                removed += _sweep_objects(folder, name, before)
                removed += store.abort_uploads(folder, before)
    return removed


def _sweep_folder(folder: str, pattern: re.Pattern[str], before: float) -> list[str]:
    removed = []
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names if pattern.fullmatch(name)):
            with _removal_logged(str(path)):
                if path.lstat().st_mtime < before:
                    path.unlink()
                    removed.append(str(path))
    return removed


def _sweep_objects(folder: UPath, pattern: re.Pattern[str], before: datetime) -> list[str]:
    removed = []
    for key, entry in folder.fs.find(folder.path, detail=True).items():
        if entry["type"] != "file":  # SeaweedFS lists a folder that has become empty
            continue
        if pattern.fullmatch(key.rpartition("/")[2]) and modified_at(entry) < before:
            folder.fs.rm_file(key)
            removed.append(f"{folder.protocol}://{key}")
    return removed


def _sweep_spilled(before: float) -> list[str]:
    """Remove this user's spill folders in which nothing was written since then."""
    removed = []
    for folder in Path(tempfile.gettempdir()).glob(f"{SPILL_PREFIX}*"):
        with _removal_logged(str(folder)):
            owner = folder.lstat()
            if not stat.S_ISDIR(owner.st_mode) or owner.st_uid != os.geteuid():
                continue
            if max(each.lstat().st_mtime for each in (folder, *folder.iterdir())) < before:
                shutil.rmtree(folder)
                removed.append(str(folder))
    return removed


@contextmanager
def _removal_logged(path: str) -> Iterator[None]:
    """Log a file that cannot be removed; ignore one that another process has removed."""
    try:
        yield
    except FileNotFoundError:
        log.debug("%s is gone", path)
    except OSError as error:
        log.warning("%s is left over and cannot be removed: %s", path, error)


class UnsafeFile(OSError):
    """A path is not a regular file (but a link, a folder, a device), or a file is too large."""


def read_bounded(path: UPath, limit: int) -> bytes:
    """Read a file of at most `limit` bytes that users of the platform may write.

    A local file is opened without following a symbolic link, and without waiting for a pipe.
    Raises UnsafeFile, FileNotFoundError, and what the storage raises.
    """
    if is_local(path):
        content = _read_regular_file(str(path), limit + 1)
    else:
        with stores.errors_explained(path):
            content = path.fs.cat_file(path.path, start=0, end=limit + 1)
    if len(content) > limit:
        raise UnsafeFile(f"{path} is too large; expected at most {limit:,} bytes")
    return content


def read_all_bounded(folder: UPath, names: Sequence[str], limit: int) -> list[bytes | Exception]:
    """Read files; each is cut off one byte after `limit`, or is the error of reading it.

    Symbolic links are not followed. An object store answers the one call in parallel.
    """
    paths = [f"{folder.path.rstrip('/')}/{name}" for name in names]
    if not is_local(folder):
        contents: list[bytes | Exception] = folder.fs.cat_ranges(paths, 0, limit + 1)
        return contents
    return [_read_or_error(path, limit) for path in paths]


def _read_or_error(path: str, limit: int) -> bytes | Exception:
    try:
        return _read_regular_file(path, limit + 1)
    except OSError as error:
        return error


def _read_regular_file(path: str, size: int) -> bytes:
    """Read the first `size` bytes of a local file. Raises UnsafeFile."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, a socket
            raise UnsafeFile(f"{path} is a link or a socket; expected a regular file") from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UnsafeFile(f"{path} is a folder or a device; expected a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(size)
    finally:
        os.close(descriptor)
