"""Requests and reports as files: all that are there, and how a new one is put among them."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from upath import UPath

from adhoc_reports.lib import available, intake, outputs
from adhoc_reports.lib.available import Available
from adhoc_reports.lib.failure import Failure
from adhoc_reports.lib.intake import Accepted, Listed, Rejected, version_in
from adhoc_reports.lib.report import MAX_BYTES as MAX_REPORT_BYTES
from adhoc_reports.lib.report import Report
from adhoc_reports.lib.request import (
    MAX_BYTES,
    SUFFIX,
    InvalidRequest,
    Question,
    Request,
    error_name,
    is_request_name,
    is_stored_name,
    name_key,
    read_request,
    stored_name,
)
from adhoc_reports.portal.heatmap import levels
from taxi_shared import storage
from taxi_shared.storage import DataRoot, UnsafeFile

FORGOTTEN_SECONDS = 24 * 3600

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """A report in brief; `written` in seconds since 1970, `levels` as of `heatmap.levels`."""

    filename: str
    question: Question
    run_key: str
    trips: int
    levels: str
    written: float


@dataclass(frozen=True)
class Refusal:
    """Why a file is no request that can be answered; `written` in seconds since 1970."""

    filename: str
    reason: str
    written: float
    run_key: str = ""


@dataclass(frozen=True)
class Entry:
    """All that the files say about a request; what is not there is None.

    name: of its answer's files and its page
    file: the request's file, and `question` what that holds

    An entry stays the same object from look to look until a file of it changes, so what is worked
    out of its files is worked out once.
    """

    name: str
    file: Listed | None
    question: Question | None
    answer: Answer | None
    refusal: Refusal | None
    failure: Failure | None = None

    @cached_property
    def is_answered(self) -> bool:
        """Whether the report is of the request as it is now."""
        if self.answer is None or self.is_refused or self.is_failed:
            return False
        if self.file is None:
            return True
        return self.has_answer and self._is_of_the_file(self.answer)

    @property
    def has_answer(self) -> bool:
        """Whether there is a report of the same question, perhaps of before it was asked again."""
        if self.answer is None or self.is_refused:
            return False
        return self.file is None or self.answer.question == self.question

    @cached_property
    def is_refused(self) -> bool:
        if self.refusal is None:
            return False
        if self.file:
            return self._is_of_the_file(self.refusal)
        return self.answer is None or self.refusal.written >= self.answer.written

    @cached_property
    def is_failed(self) -> bool:
        """Whether the run of the request as it is now has failed.

        A run that succeeds removes the failure, so a report beside it is older.
        """
        if self.failure is None or self.file is None or self.is_refused:
            return False
        return self.file.has_run_key(self.failure.run_key)

    def _is_of_the_file(self, found: Answer | Refusal) -> bool:
        """Whether a report is of the file's content as it is now.

        Times are compared only where the run key does not name the content, as in reports of
        earlier releases: a file may have any time.
        """
        assert self.file
        if version := version_in(found.run_key):
            return version == self.file.version
        return found.written >= self.file.modified

    @cached_property
    def asked(self) -> float:
        """When it was asked for, or answered where that is not known, in seconds since 1970."""
        if self.file:
            return self.file.modified
        return self.answer.written if self.answer else self.refusal.written if self.refusal else 0

    @property
    def filename(self) -> str:
        if self.file:
            return self.file.name
        if self.answer:
            return self.answer.filename
        return self.refusal.filename if self.refusal else ""

    @property
    def area(self) -> str:
        return self.asks.area if self.asks else ""

    @property
    def asks(self) -> Question | None:
        """What is asked, by the request's file or else by the report."""
        return self.question or (self.answer.question if self.answer else None)

    @cached_property
    def text(self) -> str:
        """What a search looks through besides the reason, in lower case."""
        about = f"{self.area} {self.asks.start_date} {self.asks.end_date}" if self.asks else ""
        return f"{self.filename} {about}".casefold()


@dataclass(frozen=True)
class Snapshot:
    """The result of a look: entries by name, newest first, and the available data.

    unanswered:  those that are neither answered nor refused nor failed
    by_question: those that ask the same, newest first
    """

    entries: Mapping[str, Entry]
    available: Available
    unanswered: Sequence[Entry]
    by_question: Mapping[Question, Sequence[Entry]]

    @classmethod
    def of(cls, entries: Iterable[Entry], available: Available) -> "Snapshot":
        newest_first = sorted(entries, key=lambda entry: (-entry.asked, entry.name))
        by_question: dict[Question, list[Entry]] = defaultdict(list)
        for entry in newest_first:
            if entry.asks:
                by_question[entry.asks].append(entry)
        return cls(
            {entry.name: entry for entry in newest_first},
            available,
            [e for e in newest_first if not (e.is_answered or e.is_refused or e.is_failed)],
            by_question,
        )

    @cached_property
    def names(self) -> Mapping[str, str]:
        """The names of requests and reports by `name_key`."""
        return {name_key(name): name for name in self.entries}

    @property
    def waiting(self) -> set[str]:
        """The names of those on their way; those of long ago are lost, and will not be answered."""
        since = time.time() - FORGOTTEN_SECONDS
        return {entry.name for entry in self.unanswered if entry.asked > since}


class Sent(Enum):
    """What became of a request that was sent."""

    NEW = "it is a new file"
    THERE = "the same request is there already"
    OTHER = "another request has this name"
    CHANGED = "its file has been changed meanwhile"


class Archive:
    """The requests and outputs below a data root.

    Every method reads or writes files, so it may take its time and raise what the storage raises.
    """

    def __init__(self, root: DataRoot) -> None:
        self.root = root
        self._questions: dict[str, tuple[Listed, Question | Refusal]] = {}
        self._answers: dict[str, tuple[str, Answer]] = {}
        self._refusals: dict[str, tuple[str, Refusal]] = {}
        self._failures: dict[str, tuple[str, Failure]] = {}
        self._entries: Mapping[str, Entry] = {}

    def look(self) -> Snapshot:
        """Two listings; what is new or has changed is read."""
        files = intake.list_requests(self.root.requests) or []
        self._read_questions(files)
        listing = _listing(self.root.outputs)
        self._answers = self._read(listing, outputs.REPORT_SUFFIX, self._answers, _answer)
        self._refusals = self._read(listing, outputs.ERROR_SUFFIX, self._refusals, _refusal)
        self._failures = self._read(listing, outputs.FAILURE_SUFFIX, self._failures, _failure)
        by_name = {
            error_name(file.name): self._questions.get(file.name, (file, None))[0]
            for file in files
            if not self._is_of_earlier_release(file)
        }
        names = {*by_name, *self._answers, *self._refusals}  # a failure alone is of no use
        entries = [self._entry(name, by_name.get(name)) for name in names]
        snapshot = Snapshot.of(entries, available.told(self.root))
        self._entries = snapshot.entries
        return snapshot

    def send(self, request: Request) -> Sent:
        """Put a request among the others, as a file that the sensor takes, unless it is there."""
        there = self._question_under(request)
        if there is None:
            content = request.to_json().encode()
            if storage.write_new(self.root.requests / request.filename, content):
                return Sent.NEW
            there = self._question_under(request)
        return Sent.THERE if there == request.question else Sent.OTHER

    def send_again(self, request: Request, seen: Listed | None) -> Sent:
        """Rewrite a request's file, unless it has changed since it was seen.

        The sensor answers only new content, so the file gets one more line break than it has.
        """
        path = self.root.requests / request.filename
        content = request.to_json().encode()
        files = intake.list_requests(self.root.requests) or []
        there = next((file for file in files if file.name == request.filename), None)
        if there is None:
            return Sent.NEW if storage.write_new(path, content) else Sent.CHANGED
        if seen is None or there.hint != seen.hint:
            return Sent.CHANGED
        before = storage.read_bounded(path, MAX_BYTES)
        line_breaks = len(before) - len(before.rstrip(b"\n"))
        storage.write_bytes(path, content + b"\n" * line_breaks)
        return Sent.NEW

    def report(self, name: str) -> Report | None:
        """A report; None where there is none."""
        try:
            content = storage.read_bounded(outputs.report_path(self.root, name), MAX_REPORT_BYTES)
        except (FileNotFoundError, UnsafeFile):
            return None
        return Report.model_validate_json(content)

    def _question_under(self, request: Request) -> Question | Refusal | None:
        """What is asked under a request's name; None where nothing is."""
        try:
            content = storage.read_bounded(self.root.requests / request.filename, MAX_BYTES)
        except FileNotFoundError:
            report = self.report(request.name)
            return report.request.question if report else None
        except UnsafeFile as unsafe:
            return Refusal(request.filename, str(unsafe), 0)
        try:
            return read_request(request.filename, content).question
        except InvalidRequest as invalid:
            return Refusal(request.filename, str(invalid), 0)

    def _entry(self, name: str, file: Listed | None) -> Entry:
        held = self._questions[file.name][1] if file and file.name in self._questions else None
        _, answer = self._answers.get(name, ("", None))
        _, refusal = self._refusals.get(name, ("", None))
        _, failure = self._failures.get(name, ("", None))
        if isinstance(held, Refusal):
            entry = Entry(name, file, None, answer, held)
        else:
            entry = Entry(name, file, held, answer, refusal, failure)
        before = self._entries.get(name)
        return before if before == entry else entry

    def _read_questions(self, files: Iterable[Listed]) -> None:
        known = {
            file.name: self._questions[file.name]
            for file in files
            if file.name in self._questions and self._questions[file.name][0].hint == file.hint
        }
        new = [file for file in files if file.name not in known]
        for outcome in intake.read(self.root.requests, new):
            match outcome:
                case Accepted(file, request):
                    known[file.name] = (file, request.question)
                case Rejected(file, reason):
                    refusal = Refusal(file.name, reason, file.modified, file.run_key)
                    known[file.name] = (file, refusal)
        self._questions = known

    def _is_of_earlier_release(self, file: Listed) -> bool:
        """Whether a file's name would be refused today, and its report is shown without it.

        The file is shown once the sensor has refused it, which it does after a change.
        """
        if is_request_name(file.name) or not is_stored_name(file.name):
            return False
        is_reported = error_name(file.name) in self._refusals
        return stored_name(file.name) in self._answers and not is_reported

    def _read(
        self,
        listing: Mapping[str, Mapping[str, Any]],
        suffix: str,
        before: Mapping[str, tuple[str, T]],
        parse: Callable[[bytes, float], T],
    ) -> dict[str, tuple[str, T]]:
        """The files with a suffix, by name without it, each with its version."""
        found: dict[str, tuple[str, T]] = {}
        new: list[tuple[str, str, Mapping[str, Any]]] = []
        for filename, entry in listing.items():
            name = filename.removesuffix(suffix)
            if name == filename or not is_stored_name(f"{name}{SUFFIX}"):
                continue  # not of this kind, or of a name that the platform does not give
            version = storage.version_of(entry)
            if name in before and before[name][0] == version:
                found[name] = before[name]
            elif (entry["size"] or 0) <= MAX_REPORT_BYTES:
                new.append((name, version, entry))
        names = [f"{name}{suffix}" for name, *_ in new]
        contents = storage.read_all_bounded(self.root.outputs, names, MAX_REPORT_BYTES)
        for (name, version, entry), content in zip(new, contents, strict=True):
            if isinstance(content, bytes):
                try:
                    found[name] = (version, parse(content, intake.modified(entry)))
                except ValidationError:
                    continue  # no file of ours: it answers nothing
        return found


class _ErrorFile(BaseModel):
    request: str
    reason: str
    run_key: str = ""


def _answer(content: bytes, written: float) -> Answer:
    report = Report.model_validate_json(content)
    return Answer(
        report.request.filename,
        report.request.question,
        report.run_key,
        report.pickups.total,
        levels(report.pickups.averages),
        written,
    )


def _refusal(content: bytes, written: float) -> Refusal:
    error = _ErrorFile.model_validate_json(content)
    return Refusal(error.request, error.reason, written, error.run_key)


def _failure(content: bytes, _written: float) -> Failure:
    return Failure.model_validate_json(content)


def _listing(folder: UPath) -> dict[str, Mapping[str, Any]]:
    """The files of a folder, by name, links left out; none where there is no such folder."""
    folder.fs.invalidate_cache(folder.path)
    try:
        entries = folder.fs.ls(folder.path, detail=True)
    except FileNotFoundError:
        return {}
    files = (entry for entry in entries if not intake.obstacle(entry))
    return {entry["name"].rpartition("/")[2]: entry for entry in files}
