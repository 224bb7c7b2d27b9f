"""Which request files are new or changed, and what they hold.

What has been dealt with is remembered twice. The sensor's cursor holds the files of the last tick
only, so it stays small however many there are. The ledger, a file in the data root, holds all that
are still in the folder. A tick begins by adding the cursor's files to the ledger: Dagster stores a
cursor after it has launched the tick's runs, so nothing is in the ledger whose run is not launched.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from upath import UPath

from adhoc_reports.lib.request import (
    MAX_BYTES,
    SUFFIX,
    InvalidRequest,
    Request,
    check_size,
    read_request,
    request_name,
    shown_name,
)
from taxi_shared import s3, storage
from taxi_shared.storage import DataRoot

FILES_A_TICK = 100
WATCH_INTERVAL_SECONDS = 0.05
LATEST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()

Seen = Mapping[str, str]
"""Names of request files, and the fingerprints that they had when they were dealt with."""


@dataclass(frozen=True)
class Listed:
    """A request file in a listing of the folder.

    fingerprint: differs between versions of the file
    modified:    when it was written, in seconds since 1970
    obstacle:    what it is if it is not a file ("a folder"), else empty
    """

    name: str
    fingerprint: str
    modified: float
    size: int
    obstacle: str = ""

    @property
    def run_key(self) -> str:
        """By which Dagster knows the run of this version of the file."""
        return f"{self.name} {self.fingerprint}"


@dataclass(frozen=True)
class Decision:
    """What a tick has to do.

    due:     new or changed files, oldest first
    waiting: how many more there are, left for the next ticks
    ledger:  the ledger from now on
    """

    due: tuple[Listed, ...]
    waiting: int
    ledger: Seen


@dataclass(frozen=True)
class Rejected:
    """A file that is not a valid request, and the reason in plain words."""

    file: Listed
    reason: str


@dataclass(frozen=True)
class Accepted:
    """A file that holds a valid request."""

    file: Listed
    request: Request


@dataclass(frozen=True)
class Postponed:
    """A file that could not be read now but perhaps can be later, and why."""

    file: Listed
    reason: str


def decide(
    listing: Iterable[Listed], ledger: Seen, batch: Seen, limit: int = FILES_A_TICK
) -> Decision:
    """What to do about the files of a listing, given the ledger and the last tick's batch."""
    files = {file.name: file for file in listing}
    seen = {name: mark for name, mark in {**ledger, **batch}.items() if name in files}
    due = [file for file in files.values() if seen.get(file.name) != file.fingerprint]
    due.sort(key=lambda file: (file.modified, file.name))
    return Decision(tuple(due[:limit]), len(due[limit:]), seen)


def list_requests(folder: UPath) -> list[Listed] | None:
    """The request files of a folder in one listing; None where there is no such folder.

    Hidden names are left out: a file that is still being written has one. Raises what the file
    system raises, or S3Error.
    """
    try:
        with s3.errors_explained(folder):
            entries = folder.fs.ls(folder.path, detail=True)
    except FileNotFoundError:
        return None
    listed = ((entry["name"].rstrip("/").rpartition("/")[2], entry) for entry in entries)
    return [
        _listed(name, entry)
        for name, entry in listed
        if name.endswith(SUFFIX) and not name.startswith(".")
    ]


def folder_version(folder: UPath) -> int | None:
    """Differs after a file of a local folder is added, renamed or removed; None elsewhere."""
    try:
        return os.stat(str(folder)).st_mtime_ns if storage.is_local(folder) else None
    except FileNotFoundError:
        return None


def changes(folder: UPath, before: int | None, seconds: float) -> bool:
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
    time.sleep(WATCH_INTERVAL_SECONDS)  # whoever made the file is writing it
    return True


def read(folder: UPath, files: Sequence[Listed]) -> Iterator[Accepted | Rejected | Postponed]:
    """What each file holds. A file that is gone is left out: there is nothing to answer."""
    to_read: list[Listed] = []
    for file in files:
        try:
            _check_before_reading(file)
        except InvalidRequest as invalid:
            yield Rejected(file, str(invalid))
        else:
            to_read.append(file)
    contents = storage.read_all_bounded(folder, [file.name for file in to_read], MAX_BYTES)
    for file, content in zip(to_read, contents, strict=True):
        if not isinstance(content, FileNotFoundError):
            yield _judged(file, content)


def _judged(file: Listed, content: bytes | Exception) -> Accepted | Rejected | Postponed:
    shown = shown_name(file.name)
    if isinstance(content, PermissionError | IsADirectoryError):
        return Rejected(file, f"{shown} cannot be read; expected a file that others may read")
    if isinstance(content, Exception):
        return Postponed(file, f"{shown} could not be read: {content}")
    if len(content) != file.size:
        return Postponed(file, f"{shown} was changed while it was read")
    try:
        return Accepted(file, read_request(file.name, content))
    except InvalidRequest as invalid:
        return Rejected(file, str(invalid))


def _check_before_reading(file: Listed) -> None:
    shown = shown_name(file.name)
    try:
        request_name(file.name)
    except ValueError as error:
        raise InvalidRequest(f"{shown} cannot be the name of a request; {error}") from None
    if file.obstacle:
        raise InvalidRequest(f"{shown} is {file.obstacle}; expected a file")
    check_size(file.name, file.size)


def seen_by(files: Iterable[Listed]) -> Seen:
    """Files, dealt with."""
    return {file.name: file.fingerprint for file in files}


def to_cursor(batch: Seen) -> str:
    """A batch as the sensor's cursor."""
    return _to_json(batch)


def from_cursor(cursor: str | None) -> Seen:
    """The batch of a cursor; none for a cursor that is unset or was set by hand."""
    return _from_json(cursor or "") or {}


def ledger_path(root: DataRoot) -> UPath:
    return root.staging / "requests_seen.json"


def load_ledger(path: UPath) -> Seen | None:
    """The ledger, empty where there is none; None for a file that is not one."""
    try:
        return _from_json(storage.read_bytes(path))
    except FileNotFoundError:
        return {}


def save_ledger(path: UPath, ledger: Seen) -> None:
    storage.write_text(path, _to_json(ledger))


def _to_json(seen: Seen) -> str:
    # In ASCII, so that names which are not UTF-8 survive.
    return json.dumps(dict(sorted(seen.items())), separators=(",", ":"))


def _from_json(text: str | bytes) -> Seen | None:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _listed(name: str, entry: Mapping[str, Any]) -> Listed:
    found = obstacle(entry)
    fingerprint = found or storage.version_of(entry)
    return Listed(name, fingerprint, modified(entry), entry["size"] or 0, found)


def modified(entry: Mapping[str, Any]) -> float:
    """When a file was written, from its entry in a listing, in seconds since 1970.

    Anyone may set a file's time: one outside of the years 1970 to 9999 counts as the nearest.
    """
    moment = next((entry[f] for f in ("LastModified", "mtime", "created") if f in entry), 0.0)
    seconds = moment.timestamp() if isinstance(moment, datetime) else float(moment)
    return min(max(seconds, 0.0), LATEST)


def obstacle(entry: Mapping[str, Any]) -> str:
    """What an entry of a listing is if it is not a file, such as "a folder"; else empty."""
    if entry.get("islink"):
        return "a symbolic link"
    return {"file": "", "directory": "a folder"}.get(entry["type"], "a device")
