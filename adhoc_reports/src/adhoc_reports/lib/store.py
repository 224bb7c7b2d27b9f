"""Requests and reports as files: an index of all of them, and the only place that writes them.

A request is due where its outcome answers another content than its file has, as for make: there is
no other record of what was done. Reading every file at every look would be slow, so a store keeps
what it has read by the version that a listing gives of a file (size, times, inode or ETag).
"""

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import Any

from pydantic import ValidationError
from upath import UPath

from adhoc_reports.lib import request_files
from adhoc_reports.lib.catalog import write_intake_status
from adhoc_reports.lib.old_documents import OldDocument, parse_document, suffix_of
from adhoc_reports.lib.outcome import MAX_BYTES as MAX_OUTCOME_BYTES
from adhoc_reports.lib.outcome import Outcome, Status
from adhoc_reports.lib.pickups import color_levels
from adhoc_reports.lib.request import (
    MAX_BYTES,
    SUFFIX,
    Question,
    Request,
    is_request_name,
    is_stored_name,
    name_key,
    outcome_name,
    shown_name,
    stored_name,
)
from adhoc_reports.lib.request_files import Content, Postponed, RequestFile
from taxi_shared import s3, storage
from taxi_shared.storage import DataRoot, UnsafeFile

WAITING = (Status.RECEIVED, Status.GENERATING)
CHECK_RECORD_SECONDS = 10.0


@dataclass(frozen=True)
class OutcomeSummary:
    """An outcome in brief, for lists of thousands.

    updated: in seconds since 1970
    trips:   of its report; None where it has none
    levels:  of its report, see `color_levels`; empty where it has none
    """

    status: Status
    filename: str
    content_hash: str
    question: Question | None
    reason: str
    updated: float
    run_id: str
    trips: int | None
    levels: str

    @classmethod
    def of(cls, outcome: Outcome) -> "OutcomeSummary":
        """The summary of an outcome."""
        report = outcome.report
        return cls(
            outcome.status,
            outcome.filename,
            outcome.content_hash,
            outcome.request,
            outcome.reason,
            outcome.updated.timestamp(),
            outcome.run_id,
            report.pickups.total if report else None,
            color_levels(report.pickups.averages) if report else "",
        )


@dataclass(frozen=True)
class ReportEntry:
    """All that the files say about a request.

    name:    of its outputs and its page
    file:    the request's file; None where it has been removed
    content: what the file holds; None where it has not been read yet
    outcome: None where there is none

    An entry stays the same object from scan to scan until a file of it changes, so what is computed
    from it is computed once.
    """

    name: str
    file: RequestFile | None
    content: Content | None
    outcome: OutcomeSummary | None

    @cached_property
    def status(self) -> Status:
        """How far the request is."""
        if self.content and self.content.rejection:
            return Status.REJECTED
        if self.outcome is None or not self._is_answered_by(self.outcome):
            return Status.RECEIVED
        return self.outcome.status

    @cached_property
    def is_due(self) -> bool:
        """Whether the request must be answered, unless a run is answering it."""
        if self.file is None or self.content is None:
            return False
        if self.outcome is None or self.outcome.content_hash != self.content_hash:
            return True
        # A run that is lost ends in no outcome. Where it goes on, the sensor waits for it.
        return self.outcome.status is Status.GENERATING

    @property
    def content_hash(self) -> str:
        """The hash of what the file holds; empty where it has not been read."""
        return self.content.content_hash if self.content else ""

    @property
    def run_key(self) -> str:
        """The key by which Dagster knows the run, and never starts another of the same key.

        The hint is part of it because a file that was deleted and comes back is answered again.
        """
        return f"{self.name} {self.content_hash} {self.file.hint if self.file else ''}"

    @property
    def is_waiting(self) -> bool:
        """Whether a report is on its way."""
        return self.status in WAITING

    @property
    def has_report(self) -> bool:
        """Whether there is a report of the same question, perhaps of before it was asked again."""
        if self.outcome is None or self.outcome.trips is None or self.status is Status.REJECTED:
            return False
        return self.outcome.question == self.question

    @property
    def reason(self) -> str:
        """Why it failed or was rejected; else empty."""
        if self.content and self.content.rejection:
            return self.content.rejection
        return self.outcome.reason if self.outcome and not self.is_waiting else ""

    @property
    def question(self) -> Question | None:
        """What is asked, by the request's file or else by the outcome."""
        if self.content:
            return self.content.question
        return self.outcome.question if self.outcome else None

    @property
    def filename(self) -> str:
        """The name of the request's file."""
        return self.file.name if self.file else self.outcome.filename if self.outcome else ""

    @cached_property
    def submitted(self) -> float:
        """When it was requested, or answered where that is unknown, in seconds since 1970."""
        return self.file.modified if self.file else self.outcome.updated if self.outcome else 0.0

    @cached_property
    def text(self) -> str:
        """What a search looks through, in lower case."""
        asks = self.question
        about = f"{asks.area} {asks.start_date} {asks.end_date}" if asks else ""
        return f"{self.filename} {about} {self.reason}".casefold()

    def _is_answered_by(self, outcome: OutcomeSummary) -> bool:
        if self.file is None:
            return True
        return outcome.content_hash == self.content_hash


@dataclass(frozen=True)
class ReportIndex:
    """The result of a scan.

    entries:       by name, newest first
    postponed:     why files could not be read now, in plain words
    unread:        how many files this scan has left to later ones
    old_documents: what earlier releases left in `outputs`, see `adoption`
    has_requests:  whether there is a folder `requests`
    """

    entries: Mapping[str, ReportEntry]
    postponed: Sequence[str] = ()
    unread: int = 0
    old_documents: Sequence[OldDocument] = ()
    has_requests: bool = True

    @cached_property
    def by_question(self) -> Mapping[Question, Sequence[ReportEntry]]:
        """The entries that ask the same, newest first."""
        found: dict[Question, list[ReportEntry]] = defaultdict(list)
        for entry in self.entries.values():
            if entry.question:
                found[entry.question].append(entry)
        return found

    @cached_property
    def names(self) -> Mapping[str, str]:
        """The names of requests and reports by `name_key`."""
        return {name_key(name): name for name in self.entries}

    @cached_property
    def waiting(self) -> Sequence[ReportEntry]:
        """The entries whose report is on its way, newest first."""
        return [entry for entry in self.entries.values() if entry.is_waiting]


class Submission(Enum):
    """What became of a request that was submitted."""

    NEW = "its file was written"
    DUPLICATE = "the same request is there already"
    NAME_TAKEN = "another request has this name"
    CHANGED = "its file has been changed meanwhile"


class ReportStore:
    """The requests and outputs below a data root.

    Every method reads or writes files, so it may take its time and raise what the storage raises.
    """

    def __init__(self, root: DataRoot) -> None:
        self.root = root
        self._contents: dict[str, tuple[RequestFile, Content]] = {}
        self._documents: dict[str, tuple[str, OutcomeSummary | OldDocument | None]] = {}
        self._check_recorded = float("-inf")
        self._entries: Mapping[str, ReportEntry] = {}
        self._postponed: frozenset[str] = frozenset()

    def scan(self, max_reads: int | None = None) -> ReportIndex:
        """List both folders, and read what is new or has changed: at most `max_reads` requests.

        Raises what the storage raises, so a failed listing never counts as an empty one.
        """
        files = request_files.list_requests(self.root.requests)
        listing = _list_files(self.root.outputs)
        unread = self._read_documents(listing, max_reads)
        postponed = unread | self._read_contents(files or [], listing, max_reads)
        entries = resolve_names([*self._to_entries(files or [], unread)])
        newest_first = sorted(entries, key=lambda entry: (-entry.submitted, entry.name))
        self._entries = {entry.name: self._same_or_new(entry) for entry in newest_first}
        reasons = [each.reason for each in postponed.values()]
        return ReportIndex(
            self._entries,
            postponed=[reason for reason in reasons if reason],
            unread=reasons.count(""),
            old_documents=[d for _, d in self._documents.values() if isinstance(d, OldDocument)],
            has_requests=files is not None,
        )

    def submit(self, request: Request) -> Submission:
        """Write the file of a request, unless there is one of its name.

        Where only a report of the same question is left under the name, the file is written too.
        """
        content = request.to_json().encode()
        path = self.root.requests / request.filename
        existing = self.read_request(request.filename)
        if existing is None:
            outcome = self.read_outcome(request.name)
            if outcome and outcome.request not in (None, request.question):
                return Submission.NAME_TAKEN
            if storage.write_new(path, content):
                return Submission.DUPLICATE if outcome else Submission.NEW
            existing = self.read_request(request.filename)
        is_same = existing is not None and existing.question == request.question
        return Submission.DUPLICATE if is_same else Submission.NAME_TAKEN

    def resubmit(self, request: Request, seen: RequestFile | None) -> Submission:
        """Rewrite a request's file to have it answered again, unless it has changed since `seen`.

        Only another content is due, so the file gets one more line break than it has.
        """
        path = self.root.requests / request.filename
        content = request.to_json().encode()
        files = request_files.list_requests(self.root.requests) or []
        current = next((file for file in files if file.name == request.filename), None)
        if current is None:
            outcome = self.read_outcome(request.name)
            if outcome and outcome.content_hash == request_files.hash_content(content):
                content += b"\n"
            return Submission.NEW if storage.write_new(path, content) else Submission.CHANGED
        if seen is None or current.hint != seen.hint:
            return Submission.CHANGED
        before = storage.read_bounded(path, MAX_BYTES)
        line_breaks = len(before) - len(before.rstrip(b"\n"))
        storage.write_bytes(path, content + b"\n" * line_breaks)
        return Submission.NEW

    def chart_path(self, name: str) -> UPath:
        """The PNG of a report."""
        return self.root.outputs / f"{name}.png"

    def numbers_path(self, name: str) -> UPath:
        """The CSV of a report."""
        return self.root.outputs / f"{name}.csv"

    def outcome_path(self, name: str) -> UPath:
        """The outcome of a request."""
        return self.root.outputs / f"{name}{SUFFIX}"

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
        """Remove chart, numbers and outcome of a request, the outcome last."""
        for path in (self.chart_path(name), self.numbers_path(name), self.outcome_path(name)):
            storage.remove(path)

    def _read_documents(
        self, listing: Mapping[str, Mapping[str, Any]], max_reads: int | None
    ) -> dict[str, Postponed]:
        """Read what is new; returns by name what has not been read, and why."""
        known: dict[str, tuple[str, OutcomeSummary | OldDocument | None]] = {}
        new: list[tuple[str, str]] = []
        for filename, entry in listing.items():
            if not _is_document(filename) or (entry["size"] or 0) > MAX_OUTCOME_BYTES:
                continue
            version = storage.version_of(entry)
            if filename in self._documents and self._documents[filename][0] == version:
                known[filename] = self._documents[filename]
            else:
                new.append((filename, version))
        names = [filename for filename, _ in new[:max_reads]]
        contents = storage.read_all_bounded(self.root.outputs, names, MAX_OUTCOME_BYTES)
        unread = {_stem(filename): Postponed("") for filename, _ in new[len(names) :]}
        for (filename, version), content in zip(new, contents, strict=False):
            if isinstance(content, bytes):
                written = request_files.modified(listing[filename])
                known[filename] = (version, _parse_document(filename, content, written))
            elif not isinstance(content, FileNotFoundError):
                path = self.root.outputs / filename
                unread[_stem(filename)] = Postponed(f"{path} cannot be read: {content}")
        self._documents = known
        return unread

    def _read_contents(
        self,
        files: Sequence[RequestFile],
        listing: Collection[str],
        max_reads: int | None,
    ) -> dict[str, Postponed]:
        """Read what is new; returns by file name what has not been read, and why."""
        known = {
            file.name: (file, self._contents[file.name][1])
            for file in files
            if file.name in self._contents and self._contents[file.name][0].hint == file.hint
        }
        new = {
            file.name: file
            for file in files
            if file.name not in known or not known[file.name][1].is_final
        }
        # What could not be read before keeps no other file waiting.
        order = sorted(
            plan_reads([*new.values()], listing), key=lambda f: f.name in self._postponed
        )
        found = request_files.read_requests(self.root.requests, order[:max_reads])
        known |= {n: (new[n], each) for n, each in found.items() if isinstance(each, Content)}
        postponed = {n: each for n, each in found.items() if isinstance(each, Postponed)}
        self._contents, self._postponed = known, frozenset(postponed)
        unread = order[max_reads:] if max_reads is not None else []
        return postponed | {file.name: Postponed("") for file in unread}

    def _to_entries(
        self, files: Sequence[RequestFile], unread: Collection[str]
    ) -> Iterator[ReportEntry]:
        """The entries of requests, then those of outcomes without a request."""
        outcomes = {
            _stem(filename): document
            for filename, (_, document) in self._documents.items()
            if isinstance(document, OutcomeSummary)
        }
        names = set()
        for listed in files:
            file, content = self._contents.get(listed.name, (listed, None))
            name, content = attach(file.name, content, outcomes)
            names.add(name)
            is_read = name not in unread  # until its outcome is known, nothing is due
            yield ReportEntry(name, file, content if is_read else None, outcomes.get(name))
        for name in outcomes.keys() - names:
            yield ReportEntry(name, None, None, outcomes[name])

    def _same_or_new(self, entry: ReportEntry) -> ReportEntry:
        before = self._entries.get(entry.name)
        return before if before == entry else entry


def plan_reads(files: Iterable[RequestFile], outputs: Collection[str]) -> list[RequestFile]:
    """The order to read files in: those that have no outcome first, then the oldest.

    outputs: the names of the files in `outputs`
    """
    return sorted(
        files,
        key=lambda file: (
            f"{outcome_name(file.name)}{SUFFIX}" in outputs,
            file.modified,
            file.name,
        ),
    )


def attach(
    filename: str, content: Content | None, outcomes: Mapping[str, OutcomeSummary]
) -> tuple[str, Content | None]:
    """The name of the outcome that a file belongs to, and what the file holds.

    A file of a name that only earlier releases accept keeps the report that they have generated
    for it, as long as its content does not change.
    """
    if content and is_stored_name(filename) and not is_request_name(filename):
        name = stored_name(filename)
        outcome = outcomes.get(name)
        if outcome and outcome.content_hash == content.content_hash:
            return name, Content(content.content_hash, outcome.question)
    return outcome_name(filename), content


def resolve_names(entries: Sequence[ReportEntry]) -> list[ReportEntry]:
    """Reject all but one of the requests whose outputs would be the same file on some systems.

    The one that has been answered keeps the name, or else the oldest.
    """
    spellings: dict[str, list[ReportEntry]] = defaultdict(list)
    for entry in entries:
        if entry.content and entry.content.question:
            spellings[name_key(entry.name)].append(entry)
    rejections: dict[str, Content] = {}
    for same in spellings.values():
        if len(same) == 1:
            continue
        first, *others = sorted(
            same, key=lambda e: (not _was_accepted(e.outcome), e.submitted, e.name)
        )
        for other in others:
            rejections[other.name] = request_files.rejected(
                f"{shown_name(other.filename)} cannot be the name of a request: macOS and Windows "
                f"take it for the name of {shown_name(first.filename)}; rename it"
            )
    return [replace(e, content=rejections[e.name]) if e.name in rejections else e for e in entries]


def _was_accepted(outcome: OutcomeSummary | None) -> bool:
    return outcome is not None and outcome.status is not Status.REJECTED


def _is_document(filename: str) -> bool:
    """Whether an output may be an outcome: it has the name of a request, or of an old document."""
    old_suffix = suffix_of(filename)
    return is_stored_name(filename) or bool(
        old_suffix and is_stored_name(filename.removesuffix(old_suffix) + SUFFIX)
    )


def _parse_document(
    filename: str, content: bytes, written: float
) -> OutcomeSummary | OldDocument | None:
    """What an output says; None for a file that the platform has not written."""
    try:
        return OutcomeSummary.of(Outcome.model_validate_json(content))
    except ValidationError:
        return parse_document(filename, content, written)


def _stem(filename: str) -> str:
    return filename.removesuffix(SUFFIX)


def _list_files(folder: UPath) -> dict[str, Mapping[str, Any]]:
    """The files of a folder, by name, links left out; none where there is no such folder."""
    folder.fs.invalidate_cache(folder.path)
    try:
        with s3.errors_explained(folder):
            entries = folder.fs.ls(folder.path, detail=True)
    except FileNotFoundError:
        return {}
    files = (entry for entry in entries if not request_files.obstacle(entry))
    return {entry["name"].rpartition("/")[2]: entry for entry in files}
