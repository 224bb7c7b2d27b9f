"""The folder `requests`: which files are there, and what they hold."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

from upath import UPath

from adhoc_reports.lib.file_cache import Postponed
from adhoc_reports.lib.request import (
    MAX_BYTES,
    SUFFIX,
    InvalidRequest,
    Question,
    check_name,
    check_size,
    is_request_name,
    is_stored_name,
    looks_like_request,
    read_request,
    shown_name,
)
from taxi_shared import storage, stores

WATCH_INTERVAL_SECONDS = 0.05
LATEST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
_HASH_BYTES = 16


@dataclass(frozen=True)
class RequestFile:
    """A file in a listing of the folder.

    hint:     differs where the file may have changed: `chmod` or a copy changes it as well
    modified: when it was written, in seconds since 1970
    size:     in bytes
    obstacle: what it is if it is not a file ("a folder"), else empty
    """

    name: str
    hint: str
    modified: float
    size: int
    obstacle: str = ""


@dataclass(frozen=True)
class Content:
    """What a file holds: a question, or the reason why it is no valid request.

    content_hash: of the file's bytes; of the reason, where the file was not read
    is_final:     False where the file must be read again though it does not change: granting
                  access to it may change no hint
    """

    content_hash: str
    question: Question | None
    rejection: str = ""
    is_final: bool = True


def list_requests(folder: UPath) -> list[RequestFile] | None:
    """List the request files of a folder; None where there is no such folder.

    Includes files that are meant as requests but not named like one, such as `jan.json.txt`. Raises
    what the file system raises, or StoreError.
    """
    try:
        with stores.errors_explained(folder):
            entries = folder.fs.ls(folder.path, detail=True)
    except FileNotFoundError:
        return None
    if [entry["name"] for entry in entries] == [folder.path] and entries[0]["type"] == "file":
        raise NotADirectoryError(f"{folder} is a file; expected the folder of requests")
    listed = ((entry["name"].rstrip("/").rpartition("/")[2], entry) for entry in entries)
    return [
        _request_file(name, entry)
        for name, entry in listed
        if looks_like_request(name) and (name.endswith(SUFFIX) or not obstacle(entry))
    ]


def read_requests(folder: UPath, files: Sequence[RequestFile]) -> dict[str, Content | Postponed]:
    """Read files, by name. A file that has been removed is left out."""
    found: dict[str, Content | Postponed] = {}
    to_read: list[RequestFile] = []
    for file in files:
        try:
            _check_before_reading(file)
        except InvalidRequest as invalid:
            found[file.name] = rejected(str(invalid))
        else:
            to_read.append(file)
    contents = storage.read_all_bounded(folder, [file.name for file in to_read], MAX_BYTES)
    for file, content in zip(to_read, contents, strict=True):
        # s3fs looks for the object `a` where the name is `a?versionId=1.json`.
        if not isinstance(content, FileNotFoundError) or not is_request_name(file.name):
            found[file.name] = _parse(file, content)
    return found


def parse_content(filename: str, content: bytes) -> Content:
    """What the bytes of a request's file say."""
    try:
        return Content(hash_content(content), read_request(filename, content))
    except InvalidRequest as invalid:
        return Content(hash_content(content), None, str(invalid))


def rejected(reason: str, *, is_final: bool = True) -> Content:
    """The content of a file that is not read, for a reason."""
    return Content(hash_content(reason.encode()), None, reason, is_final)


def hash_content(content: bytes) -> str:
    """The hash of a file's content: 32 hexadecimal digits."""
    return blake2b(content, digest_size=_HASH_BYTES).hexdigest()


def folder_version(folder: UPath) -> int | None:
    """Differs after a file of a local folder is added, renamed or removed; None elsewhere."""
    try:
        return Path(str(folder)).stat().st_mtime_ns if storage.is_local(folder) else None
    except FileNotFoundError:
        return None


def wait_for_change(folder: UPath, before: int | None, seconds: float) -> bool:
    """Whether a local folder has another version than `before`, or gets one within some seconds.

    An object store cannot be watched so cheaply: there it is False at once.
    """
    if not storage.is_local(folder):
        return False
    deadline = time.monotonic() + seconds
    while folder_version(folder) == before:
        if time.monotonic() >= deadline:
            return False
        time.sleep(WATCH_INTERVAL_SECONDS)
    time.sleep(WATCH_INTERVAL_SECONDS)  # its content is still being written
    return True


def modified(entry: Mapping[str, Any]) -> float:
    """When a file was written, from its entry in a listing, in seconds since 1970.

    A file's time can be set to anything. One outside the years 1970 to 9999 counts as the nearest.
    """
    fields = ("LastModified", "last_modified", "mtime", "created")
    moment = next((entry[field] for field in fields if field in entry), 0.0)
    seconds = moment.timestamp() if isinstance(moment, datetime) else float(moment)
    return min(max(seconds, 0.0), LATEST)


def obstacle(entry: Mapping[str, Any]) -> str:
    """What an entry of a listing is if it is not a file, such as "a folder"; else empty."""
    if entry.get("islink"):
        return "a symbolic link"
    return {"file": "", "directory": "a folder"}.get(entry["type"], "a device")


def _request_file(name: str, entry: Mapping[str, Any]) -> RequestFile:
    hint = storage.version_of(entry)
    return RequestFile(name, hint, modified(entry), entry["size"] or 0, obstacle(entry))


def _check_before_reading(file: RequestFile) -> None:
    if not is_stored_name(file.name):
        check_name(file.name)
    if file.obstacle:
        raise InvalidRequest(f"{shown_name(file.name)} is {file.obstacle}; expected a file")
    check_size(file.name, file.size)


def _parse(file: RequestFile, content: bytes | Exception) -> Content | Postponed:
    shown = shown_name(file.name)
    if isinstance(content, Exception):
        try:
            check_name(file.name)
        except InvalidRequest as invalid:
            return rejected(str(invalid))
    if isinstance(content, PermissionError | IsADirectoryError):
        reason = f"{shown} cannot be read; expected a file that others may read"
        return rejected(reason, is_final=False)
    if isinstance(content, Exception):
        return Postponed(f"{shown} could not be read: {content}")
    if len(content) != file.size:
        return Postponed(f"{shown} was changed while it was read")
    return parse_content(file.name, content)
