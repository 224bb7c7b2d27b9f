"""Which request files are new or changed, and what they hold.

The hash of its content decides whether a file is new or has changed. Reading every file at every
tick would be slow, so the listing gives a hint (size, times, inode or ETag): where the hint is the
one recorded, the file is not read. `chmod`, a copy or a restore changes the hint alone.

What was handled is recorded twice. The sensor's cursor holds the files of the last tick only, so it
stays small however many there are. The ledger, a file in the data root, holds all that are still in
the folder. A tick begins by adding the cursor's files to the ledger: Dagster stores a cursor after
it has launched the tick's runs, so every run of a file in the ledger has been launched.
"""

import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from upath import UPath

from adhoc_reports.lib.request import (
    MAX_BYTES,
    SUFFIX,
    InvalidRequest,
    NewRequest,
    check_name,
    check_size,
    is_request_name,
    is_stored_name,
    looks_like_request,
    name_key,
    read_request,
    shown_name,
)
from taxi_shared import s3, storage
from taxi_shared.storage import DataRoot

FILES_PER_TICK = 100
# Most of them unchanged: after a restore, the hint of every file differs. 64 MB at most.
READS_PER_TICK = 1_000
WATCH_INTERVAL_SECONDS = 0.05
LATEST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()

_DIGEST_BYTES = 16
_RUN_KEY = re.compile(r"(.+ [0-9a-f]{32}) [0-9a-f]*", re.DOTALL)


@dataclass(frozen=True)
class Listed:
    """A request file in a listing of the folder.

    hint:     differs where the file may have changed; empty to read the file at every tick
    modified: when it was written, in seconds since 1970
    obstacle: what it is if it is not a file ("a folder"), else empty
    digest:   hash of its content, or of the reason why it was not read; empty before reading
    """

    name: str
    hint: str
    modified: float
    size: int
    obstacle: str = ""
    digest: str = ""

    @property
    def version(self) -> str:
        """Name and content."""
        return f"{self.name} {self.digest}"

    @property
    def run_key(self) -> str:
        """The key by which Dagster knows the run.

        The hint is part of it because Dagster never runs a key twice: a file that was deleted and
        dropped again is to be answered again.
        """
        return f"{self.version} {self.hint}"

    def has_run_key(self, run_key: str) -> bool:
        """Whether a run was of this content. Keys of earlier releases end with the hint alone."""
        return version_in(run_key) == self.version or run_key == f"{self.name} {self.hint}"


def version_in(run_key: str) -> str:
    """The version in a run key of this release; empty for any other."""
    match = _RUN_KEY.fullmatch(run_key)
    return match[1] if match else ""


@dataclass(frozen=True)
class Record:
    """What is known of a file that was handled.

    digest:     empty where an earlier release has written the record
    is_refused: whether the file was no request that can be answered
    """

    hint: str
    digest: str
    is_refused: bool = False


Ledger = Mapping[str, Record]
"""Records by file name."""


@dataclass(frozen=True)
class Accepted:
    """A file that holds a valid request."""

    file: Listed
    request: NewRequest


@dataclass(frozen=True)
class Rejected:
    """A file that is not a valid request, and the reason in plain words."""

    file: Listed
    reason: str


@dataclass(frozen=True)
class Postponed:
    """A file that could not be read now but perhaps can be later, and why."""

    file: Listed
    reason: str


Outcome = Accepted | Rejected | Postponed


@dataclass(frozen=True)
class Plan:
    """What a tick has to read.

    unread: files whose hint is not the recorded one: new names first, then the oldest
    ledger: the ledger, without files that are gone
    gone:   files that are gone and were refused for their name, so renaming them is done
    """

    unread: tuple[Listed, ...]
    ledger: Ledger
    gone: tuple[str, ...]


@dataclass(frozen=True)
class Decision:
    """What a tick has to do.

    due:       files of new content
    postponed: files to read again at the next tick
    waiting:   how many files are left for the next ticks
    ledger:    the ledger from now on, without the due files
    gone:      as in `Plan`
    """

    due: tuple[Accepted | Rejected, ...]
    postponed: tuple[Postponed, ...]
    waiting: int
    ledger: Ledger
    gone: tuple[str, ...]

    @property
    def is_idle(self) -> bool:
        return not (self.due or self.postponed or self.waiting)


def plan(
    listing: Iterable[Listed], ledger: Ledger, batch: Ledger, limit: int = FILES_PER_TICK
) -> Plan:
    """What to read of the files of a listing, given the ledger and the last tick's batch."""
    files = {file.name: file for file in listing}
    known = {**ledger, **batch}
    misnamed = [
        name
        for name, record in known.items()
        if name not in files and record.is_refused and not is_request_name(name)
    ]
    later = set(misnamed[limit:])
    unread = [file for file in files.values() if not _has_hint(file, known.get(file.name))]
    unread.sort(key=lambda file: (file.name in known, file.modified, file.name))
    kept = {name: record for name, record in known.items() if name in files or name in later}
    return Plan(tuple(unread), kept, tuple(misnamed[:limit]))


def _has_hint(file: Listed, record: Record | None) -> bool:
    return record is not None and record.hint == file.hint and record.digest != ""


def decide(planned: Plan, outcomes: Iterable[Outcome], limit: int = FILES_PER_TICK) -> Decision:
    """What to do about files, given what they hold; takes no more outcomes than it needs."""
    ledger = dict(planned.ledger)
    names = {name_key(name): name for name, record in ledger.items() if not record.is_refused}
    due: list[Accepted | Rejected] = []
    postponed: list[Postponed] = []
    taken = 0
    for outcome in outcomes:
        taken += 1
        file = outcome.file
        record = ledger.get(file.name)
        if isinstance(outcome, Postponed):
            postponed.append(outcome)
        elif record and _has_content(file, record):
            is_refused = record.is_refused if record.digest else isinstance(outcome, Rejected)
            ledger[file.name] = Record(file.hint, file.digest, is_refused)
        else:
            due.append(_distinct(outcome, names))
        if len(due) == limit:
            break
    waiting = len(planned.unread) - taken
    return Decision(tuple(due), tuple(postponed), waiting, ledger, planned.gone)


def _has_content(file: Listed, record: Record) -> bool:
    # A record of an earlier release has no digest: the same hint stands for the same content.
    return record.digest == file.digest if record.digest else record.hint == file.hint


def _distinct(outcome: Accepted | Rejected, names: dict[str, str]) -> Accepted | Rejected:
    """Refuse a name of which another one's outputs would be replaced on some file systems."""
    if isinstance(outcome, Rejected):
        return outcome
    name = outcome.file.name
    other = names.setdefault(name_key(name), name)
    if other == name:
        return outcome
    return Rejected(
        outcome.file,
        f"{shown_name(name)} cannot be the name of a request: macOS and Windows take it for the "
        f"name of {shown_name(other)}; rename it",
    )


def list_requests(folder: UPath) -> list[Listed] | None:
    """The request files of a folder in one listing; None where there is no such folder.

    Includes files that are meant as requests but not named like one, such as `jan.json.txt`. Raises
    what the file system raises, or S3Error.
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
        if looks_like_request(name) and (name.endswith(SUFFIX) or not obstacle(entry))
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
    time.sleep(WATCH_INTERVAL_SECONDS)  # its content is still being written
    return True


def read_in_batches(folder: UPath, files: Sequence[Listed]) -> Iterator[Outcome]:
    """As `read`, for files of one tick; reads no further than outcomes are taken."""
    files = files[:READS_PER_TICK]
    for start in range(0, len(files), FILES_PER_TICK):
        yield from read(folder, files[start : start + FILES_PER_TICK])


def read(folder: UPath, files: Sequence[Listed]) -> Iterator[Outcome]:
    """What each file holds. A file that is gone is left out: there is nothing to answer."""
    to_read: list[Listed] = []
    for file in files:
        try:
            _check_before_reading(file)
        except InvalidRequest as invalid:
            yield _unread(file, str(invalid))
        else:
            to_read.append(file)
    contents = storage.read_all_bounded(folder, [file.name for file in to_read], MAX_BYTES)
    for file, content in zip(to_read, contents, strict=True):
        # s3fs looks for the object `a` where the name is `a?versionId=1.json`.
        if not isinstance(content, FileNotFoundError) or not is_request_name(file.name):
            yield _judge(file, content)


def _judge(file: Listed, content: bytes | Exception) -> Outcome:
    shown = shown_name(file.name)
    if isinstance(content, Exception):
        try:
            check_name(file.name)
        except InvalidRequest as invalid:
            return _unread(file, str(invalid))
    if isinstance(content, PermissionError | IsADirectoryError):
        # Without a hint it is read again at every tick: granting access may change no file.
        return _unread(
            replace(file, hint=""), f"{shown} cannot be read; expected a file that others may read"
        )
    if isinstance(content, Exception):
        return Postponed(file, f"{shown} could not be read: {content}")
    if len(content) != file.size:
        return Postponed(file, f"{shown} was changed while it was read")
    file = replace(file, digest=_digest(content))
    try:
        return Accepted(file, read_request(file.name, content))
    except InvalidRequest as invalid:
        return Rejected(file, str(invalid))


def _check_before_reading(file: Listed) -> None:
    if not is_stored_name(file.name):
        check_name(file.name)
    if file.obstacle:
        raise InvalidRequest(f"{shown_name(file.name)} is {file.obstacle}; expected a file")
    check_size(file.name, file.size)


def _unread(file: Listed, reason: str) -> Rejected:
    return Rejected(replace(file, digest=_digest(reason.encode())), reason)


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()


def to_records(outcomes: Iterable[Accepted | Rejected]) -> Ledger:
    """The records of files that were handled."""
    return {
        each.file.name: Record(each.file.hint, each.file.digest, isinstance(each, Rejected))
        for each in outcomes
    }


def to_cursor(batch: Ledger) -> str:
    """A batch as the sensor's cursor."""
    return _to_json(batch)


def from_cursor(cursor: str | None) -> Ledger:
    """The batch of a cursor; none for a cursor that is unset or was set by hand."""
    return _from_json(cursor or "") or {}


def ledger_path(root: DataRoot) -> UPath:
    return root.staging / "requests_seen.json"


def load_ledger(path: UPath) -> Ledger | None:
    """The ledger, empty where there is none; None for a file that is not one."""
    try:
        return _from_json(storage.read_bytes(path))
    except FileNotFoundError:
        return {}


def save_ledger(path: UPath, ledger: Ledger) -> None:
    storage.write_text(path, _to_json(ledger))


def _to_json(ledger: Ledger) -> str:
    values = {
        name: [record.hint, record.digest, record.is_refused]
        for name, record in sorted(ledger.items())
    }
    # In ASCII, so that names which are not UTF-8 survive.
    return json.dumps(values, separators=(",", ":"))


def _from_json(text: str | bytes) -> Ledger | None:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    records = {name: _to_record(value) for name, value in values.items()}
    return {name: record for name, record in records.items() if record}


def _to_record(value: object) -> Record | None:
    """A record as it is stored; earlier releases stored the hint alone."""
    match value:
        case str(hint):
            return Record(hint, "")
        case [str(hint), str(digest), bool(is_refused)]:
            return Record(hint, digest, is_refused)
    return None


def _listed(name: str, entry: Mapping[str, Any]) -> Listed:
    hint = storage.version_of(entry)
    return Listed(name, hint, modified(entry), entry["size"] or 0, obstacle(entry))


def modified(entry: Mapping[str, Any]) -> float:
    """When a file was written, from its entry in a listing, in seconds since 1970.

    A file's time can be set to anything. One outside the years 1970 to 9999 counts as the nearest.
    """
    moment = next((entry[f] for f in ("LastModified", "mtime", "created") if f in entry), 0.0)
    seconds = moment.timestamp() if isinstance(moment, datetime) else float(moment)
    return min(max(seconds, 0.0), LATEST)


def obstacle(entry: Mapping[str, Any]) -> str:
    """What an entry of a listing is if it is not a file, such as "a folder"; else empty."""
    if entry.get("islink"):
        return "a symbolic link"
    return {"file": "", "directory": "a folder"}.get(entry["type"], "a device")
