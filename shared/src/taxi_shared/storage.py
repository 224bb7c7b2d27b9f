"""The data root: where every file of the platform is, on a local folder or in an S3 bucket alike.

The only module that builds paths. Writes are atomic: a reader sees the old file or the new one.
"""

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import IO, Any

from upath import UPath

from taxi_shared import settings

# What a listing says of a version: of an object on S3, of a local file (`created` is its ctime,
# which a copy that keeps time and size cannot keep).
_VERSION = ("size", "ETag", "LastModified", "mtime", "created")


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
        """The data root at a folder or a URL such as `s3://bucket/prefix`."""
        return cls(UPath(settings.locate(address)))

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


def version_of(entry: Mapping[str, Any]) -> str:
    """A short text that differs between versions of a file, from its entry in a listing."""
    version = "\n".join(str(entry.get(field)) for field in _VERSION)
    return blake2b(version.encode(), digest_size=8).hexdigest()


def is_local(path: UPath) -> bool:
    return path.protocol in ("", "file", "local")


def partial_path(path: UPath) -> UPath:
    """A hidden name beside `path` for what is not complete yet; two writers never share one."""
    return path.parent / f".{path.name}.{uuid.uuid4().hex}.partial"


@contextmanager
def atomic_path(path: UPath) -> Iterator[str]:
    """The address to write the file `path` to, by a program that opens files itself (DuckDB).

    A local file is written under a hidden name and moved into place if the block succeeds. On S3
    an object appears whole when its upload ends, so the address is that of the object.
    """
    if not is_local(path):
        yield str(path)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    try:
        yield str(partial)
        os.replace(str(partial), str(path))
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_open(path: UPath) -> Iterator[IO[bytes]]:
    """A binary file to write; it replaces `path` if the block succeeds, else leaves no trace."""
    if is_local(path):
        with atomic_path(path) as partial, open(partial, "wb") as file:
            yield file
        return
    file = path.fs.open(path.path, "wb", autocommit=False)
    try:
        yield file
    except BaseException:
        file.discard()
        raise
    file.close()
    file.commit()


def write_bytes(path: UPath, content: bytes) -> None:
    """Replace the file `path` by `content`."""
    with atomic_open(path) as file:
        file.write(content)


def write_text(path: UPath, content: str) -> None:
    """Replace the file `path` by `content`, in UTF-8."""
    write_bytes(path, content.encode())
