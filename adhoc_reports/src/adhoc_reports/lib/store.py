"""Requests and reports as files: the only place that reads and writes them."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from enum import Enum
from typing import Any

from pydantic import ValidationError
from upath import UPath

from adhoc_reports.lib import request_files
from adhoc_reports.lib.catalog import write_intake_status
from adhoc_reports.lib.file_cache import FileCache, Postponed
from adhoc_reports.lib.index import OutcomeSummary, ReportEntry, ReportIndex, resolve_names
from adhoc_reports.lib.outcome import MAX_BYTES as MAX_OUTCOME_BYTES
from adhoc_reports.lib.outcome import OLD_SUFFIX, Outcome
from adhoc_reports.lib.request import (
    MAX_BYTES,
    SUFFIX,
    Question,
    check_name,
    is_stored_name,
    outcome_name,
)
from adhoc_reports.lib.request_files import Content, RequestFile
from taxi_shared import storage, stores
from taxi_shared.storage import DataRoot, UnsafeFile

CHECK_RECORD_SECONDS = 10.0


class Submission(Enum):
    """What became of a request that was submitted."""

    NEW = "its file was written"
    DUPLICATE = "the same request is there already"
    NAME_TAKEN = "another request has this name"
    CHANGED = "its file has been changed meanwhile"


class ReportStore:
    """The requests and outputs below a data root.

    It keeps what it has read of a file until a listing gives another version of that (size, times,
    inode or ETag). Every method may take its time, and raises what the storage raises.
    """

    def __init__(self, root: DataRoot) -> None:
        self.root = root
        self._files: dict[str, RequestFile] = {}
        self._requests: FileCache[Content] = FileCache(
            lambda names: request_files.read_requests(
                root.requests, [self._files[name] for name in names]
            ),
            is_final=lambda content: content.is_final,
        )
        self._outcomes: FileCache[OutcomeSummary | None] = FileCache(self._read_outcomes)
        self._entries: Mapping[str, ReportEntry] = {}
        self._check_recorded = float("-inf")

    def scan(self, max_reads: int | None = None) -> ReportIndex:
        """List both folders, and read what is new or has changed: at most `max_reads` of each.

        A failed listing raises, so it never counts as an empty one.
        """
        files = request_files.list_requests(self.root.requests)
        outputs = _list_documents(self.root.outputs)
        versions = {name: storage.version_of(entry) for name, entry in outputs.items()}
        unread_outcomes = self._outcomes.update(versions, max_reads)
        self._files = {file.name: file for file in sorted(files or [], key=_reading_order(outputs))}
        versions = {file.name: file.hint for file in self._files.values()}
        postponed = [
            *unread_outcomes.values(),
            *self._requests.update(versions, max_reads).values(),
        ]
        entries = resolve_names([*self._to_entries(unread_outcomes)])
        newest_first = sorted(entries, key=lambda entry: (-entry.submitted, entry.name))
        self._entries = {entry.name: self._same_or_new(entry) for entry in newest_first}
        outcomes = self._outcomes.contents
        return ReportIndex(
            self._entries,
            postponed=[each.reason for each in postponed if each.reason],
            unread=sum(not each.reason for each in postponed),
            unknown=[name for name in outputs if outcomes.get(name) is None],
            has_requests=files is not None,
        )

    def submit(self, name: str, question: Question) -> Submission:
        """Write the file of a request, unless there is one of its name.

        Where only a report of the same question is left under the name, the file is written too.
        Raises InvalidRequest for a name that no request can have.
        """
        filename = f"{name}{SUFFIX}"
        check_name(filename)
        existing = self.read_request(filename)
        if existing is None:
            outcome = self.read_outcome(name)
            if outcome and outcome.request not in (None, question):
                return Submission.NAME_TAKEN
            if storage.write_new(self.root.requests / filename, question.to_json().encode()):
                return Submission.DUPLICATE if outcome else Submission.NEW
            existing = self.read_request(filename)
        is_same = existing is not None and existing.question == question
        return Submission.DUPLICATE if is_same else Submission.NAME_TAKEN

    def resubmit(self, entry: ReportEntry, question: Question) -> Submission:
        """Rewrite a request's file to have it answered again, unless it is not the one of `entry`.

        Only another content is due, so the file gets one more line break than it has.
        """
        path = self.root.requests / entry.filename
        content = question.to_json().encode()
        files = request_files.list_requests(self.root.requests) or []
        current = next((file for file in files if file.name == entry.filename), None)
        if current is None:
            outcome = self.read_outcome(entry.name)
            if outcome and outcome.content_hash == request_files.hash_content(content):
                content += b"\n"
            return Submission.NEW if storage.write_new(path, content) else Submission.CHANGED
        if entry.file is None or current.hint != entry.file.hint:
            return Submission.CHANGED
        before = storage.read_bounded(path, MAX_BYTES)
        line_breaks = len(before) - len(before.rstrip(b"\n"))
        storage.write_bytes(path, content + b"\n" * line_breaks)
        return Submission.NEW

    def chart_path(self, name: str) -> UPath:
        """The PNG of a report."""
        return self.root.outputs / f"{name}.png"

    def svg_path(self, name: str) -> UPath:
        """The SVG of a report, where a function outside the platform draws it."""
        return self.root.outputs / f"{name}.svg"

    def numbers_path(self, name: str) -> UPath:
        """The CSV of a report."""
        return self.root.outputs / f"{name}.csv"

    def outcome_path(self, name: str) -> UPath:
        """The outcome of a request."""
        return self.root.outputs / f"{name}{SUFFIX}"

    def outcome_version(self, name: str) -> tuple[int, int] | None:
        """Another value each time that an outcome is written; None where there is none.

        Always None in an object store, which answers too slowly to be asked often.
        """
        path = self.outcome_path(name)
        if not storage.is_local(path):
            return None
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns

    def read_outcome(self, name: str) -> Outcome | None:
        """Read the whole outcome of a request; None where there is none."""
        try:
            content = storage.read_bounded(self.outcome_path(name), MAX_OUTCOME_BYTES)
            return Outcome.model_validate_json(content)
        except (FileNotFoundError, UnsafeFile, ValidationError):
            return None

    def read_request(self, filename: str) -> Content | None:
        """Read what a request's file holds; None where there is none."""
        try:
            content = storage.read_bounded(self.root.requests / filename, MAX_BYTES)
        except FileNotFoundError:
            return None
        except UnsafeFile as unsafe:
            return request_files.rejected(str(unsafe))
        return request_files.parse_content(filename, content)

    def write_outcome(self, name: str, outcome: Outcome) -> None:
        """Replace the outcome of a request."""
        storage.write_text(self.outcome_path(name), outcome.model_dump_json() + "\n")

    def record_check(self) -> None:
        """Record that requests have been looked for, every ten seconds."""
        if time.monotonic() - self._check_recorded >= CHECK_RECORD_SECONDS:
            write_intake_status(self.root)
            self._check_recorded = time.monotonic()

    def remove_outcome(self, name: str) -> None:
        """Remove the outcome of a request."""
        storage.remove(self.outcome_path(name))

    def remove_outputs(self, name: str) -> None:
        """Remove charts, numbers and outcome of a request, the outcome last."""
        for path_of in (self.svg_path, self.chart_path, self.numbers_path, self.outcome_path):
            storage.remove(path_of(name))

    def _read_outcomes(
        self, names: Collection[str]
    ) -> dict[str, OutcomeSummary | Postponed | None]:
        contents = storage.read_all_bounded(self.root.outputs, [*names], MAX_OUTCOME_BYTES)
        found: dict[str, OutcomeSummary | Postponed | None] = {}
        for name, content in zip(names, contents, strict=True):
            if isinstance(content, bytes):
                found[name] = _parse_outcome(content)
            elif not isinstance(content, FileNotFoundError):
                found[name] = Postponed(f"{self.root.outputs}/{name} cannot be read: {content}")
        return found

    def _to_entries(self, unread: Collection[str]) -> Iterator[ReportEntry]:
        """The entries of requests, then those of outcomes without a request.

        unread: files of outcomes that are not known yet: until they are, nothing is due
        """
        outcomes = {
            filename.removesuffix(SUFFIX): outcome
            for filename, outcome in self._outcomes.contents.items()
            if outcome and is_stored_name(filename)
        }
        for file in self._files.values():
            name = outcome_name(file.name)
            is_known = f"{name}{SUFFIX}" not in unread
            content = self._requests.contents.get(file.name) if is_known else None
            outcome = outcomes.pop(name, None)
            # A file that cannot be read for a while does not take a report away.
            is_kept = content and not content.is_final and outcome and outcome.trips is not None
            yield ReportEntry(name, file, None if is_kept else content, outcome)
        for name, outcome in outcomes.items():
            yield ReportEntry(name, None, None, outcome)

    def _same_or_new(self, entry: ReportEntry) -> ReportEntry:
        before = self._entries.get(entry.name)
        return before if before == entry else entry


def _reading_order(outputs: Collection[str]) -> Callable[[RequestFile], tuple[bool, float, str]]:
    """Those that have no outcome first, then the oldest."""
    return lambda file: (f"{outcome_name(file.name)}{SUFFIX}" in outputs, file.modified, file.name)


def _parse_outcome(content: bytes) -> OutcomeSummary | None:
    try:
        return OutcomeSummary.of(Outcome.model_validate_json(content))
    except ValidationError:  # another team's file, or one of an earlier release
        return None


def _list_documents(folder: UPath) -> dict[str, Mapping[str, Any]]:
    """The files of a folder that can be outcomes, by name; none where there is no such folder."""
    folder.fs.invalidate_cache(folder.path)
    try:
        with stores.errors_explained(folder):
            entries = folder.fs.ls(folder.path, detail=True)
    except FileNotFoundError:
        return {}
    named = {entry["name"].rpartition("/")[2]: entry for entry in entries}
    return {
        name: entry
        for name, entry in named.items()
        if any(map(is_stored_name, (name, OLD_SUFFIX.sub(SUFFIX, name))))
        and not request_files.obstacle(entry)
        and (entry["size"] or 0) <= MAX_OUTCOME_BYTES
    }
