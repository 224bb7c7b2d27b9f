"""The data root: where every file of the platform is, on a local folder or in an S3 bucket alike.

The only module that builds paths. Writes are atomic: a reader sees the old file or the new one.
"""

import errno
import fcntl
import os
import re
import stat
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import IO, TYPE_CHECKING, Any

from upath import UPath

from taxi_shared import s3, settings
from taxi_shared.addresses import without_secrets

if TYPE_CHECKING:
    import duckdb

# What a listing says of a version: of an object on S3, of a local file (`created` is its ctime,
# which a copy that keeps time and size cannot keep).
_VERSION = ("size", "ETag", "LastModified", "mtime", "created", "ino")

APPEARS_TRIES, APPEARS_SECONDS = 10, 0.1


@dataclass(frozen=True)
class DataRoot:
    """Paths below one root.

    raw/       files as their publisher made them
    staging/   tables of the lake, and results that assets hand to each other
    outputs/   results for people
    requests/  what people ask for
    """

    base: UPath

    @classmethod
    def at(cls, address: str) -> "DataRoot":
        """The data root at a folder or a URL such as `s3://bucket/prefix`. Raises ValueError."""
        return cls(at(address))

    def check(self) -> None:
        """Raises S3Error where the root is on S3 and cannot be listed. A folder need not exist."""
        if s3.is_on_s3(self.base):
            s3.check(self.base)

    def attach(self, con: "duckdb.DuckDBPyConnection") -> None:
        """Let a DuckDB connection read and write the files of this root."""
        if s3.is_on_s3(self.base):
            with s3.errors_explained(self.base):
                s3.attach(con)

    @property
    def raw(self) -> UPath:
        return self.base / "raw"

    @property
    def staging(self) -> UPath:
        return self.base / "staging"

    @property
    def outputs(self) -> UPath:
        return self.base / "outputs"

    @property
    def requests(self) -> UPath:
        return self.base / "requests"


def at(address: str) -> UPath:
    """The path of a folder or file, or of one on S3. Raises ValueError for any other address."""
    located = settings.locate(address)
    path = UPath(located)
    if s3.is_on_s3(path) and path.path.strip("/"):
        on_s3: UPath = UPath(located, **s3.options())
        return on_s3
    if path.protocol in ("", "file", "local", "memory"):
        return path
    shown = without_secrets(address)
    raise ValueError(f"{shown!r} is no place of files; expected a folder or s3://bucket/prefix")


def versions_below(folder: UPath) -> dict[UPath, str]:
    """The files below a folder, sorted, each with a text that changes when it is replaced.

    Hidden ones are left out: they are being written. One listing, however many there are. Where
    there are none, it makes sure that the place itself is there: a bucket that has vanished must
    not pass for an empty one. Raises S3Error.
    """
    with s3.errors_explained(folder):
        entries = folder.fs.find(folder.path, detail=True)
    if not entries and s3.is_on_s3(folder):
        s3.check(folder)
    start = len(folder.path.rstrip("/")) + 1
    found = {folder / name[start:]: version_of(entries[name]) for name in sorted(entries)}
    return {path: version for path, version in found.items() if not path.name.startswith(".")}


def version_of(entry: Mapping[str, Any]) -> str:
    """A short text that differs between versions of a file, from its entry in a listing."""
    version = "\n".join(str(entry.get(field)) for field in _VERSION)
    return blake2b(version.encode(), digest_size=8).hexdigest()


def is_local(path: UPath) -> bool:
    return path.protocol in ("", "file", "local")


def literal(path: UPath | str) -> str:
    """A path for DuckDB's readers, which would take `*`, `?` and `[` in it for a pattern."""
    return re.sub(r"([\[*?])", r"[\1]", str(path))


def partial_path(path: UPath) -> UPath:
    """A hidden name beside `path` for what is not complete yet; two writers never share one."""
    return path.parent / f".{path.name}.{uuid.uuid4().hex}.partial"


@contextmanager
def atomic_path(path: UPath) -> Iterator[str]:
    """The address to write the file `path` to, by a program that opens files itself (DuckDB).

    It is hidden, and moved into place if the block succeeds: by renaming a local file, on S3 by one
    copy on the server.
    """
    partial = partial_path(path)
    try:
        if is_local(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield str(partial)
            os.replace(str(partial), str(path))
        else:
            yield str(partial)
            path.fs.cp_file(partial.path, path.path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_open(path: UPath) -> Iterator[IO[bytes]]:
    """A binary file to write; it replaces `path` if the block succeeds, else leaves no trace."""
    if is_local(path):
        with atomic_path(path) as partial, open(partial, "wb") as file:
            yield file
        return
    with s3.errors_explained(path):
        file = path.fs.open(path.path, "wb", autocommit=False)
        try:
            yield file
        except BaseException:
            file.discard()
            file.closed = True  # or it would try to write what was discarded when it is collected
            raise
        file.close()
        file.commit()


def read_bytes(path: UPath) -> bytes:
    """The content of a file: on S3 by one request, so that it is of one version.

    Opening it would ask for its length first, and fail where it was replaced in between.
    """
    with s3.errors_explained(path):
        content: bytes = path.fs.cat_file(path.path)
    return content


def read_text(path: UPath) -> str:
    """The content of a file in UTF-8."""
    return read_bytes(path).decode()


def write_bytes(path: UPath, content: bytes) -> None:
    """Replace the file `path` by `content`; on S3 by one request, unless it is large."""
    if not is_local(path):
        with s3.errors_explained(path):
            path.fs.pipe_file(path.path, content)
        return
    with atomic_open(path) as file:
        file.write(content)


def write_new(path: UPath, content: bytes) -> bool:
    """Write the file `path` where there is none; False, and no change, where there is one.

    Of several writers at once, one succeeds.
    """
    if not is_local(path):
        try:
            path.fs.pipe_file(path.path, content, mode="create")
        except OSError:
            # Each store has an error of its own for a file that is there, or that another writer is
            # just making; S3's is no FileExistsError.
            if not _appears(path):
                raise
            return False
        return True
    path.parent.mkdir(parents=True, exist_ok=True)
    # A hard link to a partial file would do without a lock, but changes the file's ctime again when
    # the partial one is removed: it would look like another version.
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


class UnsafeFile(OSError):
    """A path that is not a regular file (a symbolic link, a folder, a device), or a file that is
    larger than expected."""


def read_bounded(path: UPath, limit: int) -> bytes:
    """The content of a file of at most `limit` bytes, for files that others may write.

    A local file is opened without following a symbolic link, and without waiting for a pipe.
    Raises UnsafeFile, FileNotFoundError, and what the storage raises.
    """
    if is_local(path):
        content = _read_regular_file(str(path), limit + 1)
    else:
        with s3.errors_explained(path):
            content = path.fs.cat_file(path.path, start=0, end=limit + 1)
    if len(content) > limit:
        raise UnsafeFile(f"{path} is too large; expected at most {limit:,} bytes")
    return content


def read_all_bounded(folder: UPath, names: Sequence[str], limit: int) -> list[bytes | Exception]:
    """The content of each file, cut off one byte after `limit`, or why it cannot be read.

    Links are not followed. One call, which an object store answers in parallel.
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
    """The first `size` bytes of a local file. Raises UnsafeFile."""
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
