"""Requests and reports as files: all that are there, and how a new one is put among them."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from upath import UPath

from adhoc_reports.lib import available, intake, outputs
from adhoc_reports.lib.available import Available
from adhoc_reports.lib.failure import Failure
from adhoc_reports.lib.intake import Accepted, Listed, Rejected
from adhoc_reports.lib.report import Report
from adhoc_reports.lib.request import (
    SUFFIX,
    InvalidRequest,
    Question,
    Request,
    error_name,
    read_request,
)
from adhoc_reports.portal.heatmap import levels
from taxi_shared import storage
from taxi_shared.storage import DataRoot

MAX_REPORT_BYTES = 1024 * 1024
FORGOTTEN_SECONDS = 24 * 3600

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """A report in brief; `written` in seconds since 1970, `levels` as of `heatmap.levels`."""

    request: Request
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
    """

    name: str
    file: Listed | None
    question: Question | None
    answer: Answer | None
    refusal: Refusal | None
    failure: Failure | None = None

    @property
    def is_answered(self) -> bool:
        """Whether the report is of the request as it is now."""
        if self.answer is None or self.is_refused:
            return False
        if self.file is None:
            return True
        return self.has_answer and self._is_of_the_file(self.answer)

    @property
    def has_answer(self) -> bool:
        """Whether there is a report of the same question, perhaps of before it was asked again."""
        if self.answer is None or self.is_refused:
            return False
        return self.file is None or self.answer.request.question == self.question

    @property
    def is_refused(self) -> bool:
        if self.refusal is None:
            return False
        if self.file:
            return self._is_of_the_file(self.refusal)
        return self.answer is None or self.refusal.written >= self.answer.written

    @property
    def is_failed(self) -> bool:
        """Whether the run of the request as it is now has failed."""
        if self.failure is None or self.file is None or self.is_answered or self.is_refused:
            return False
        return self.failure.run_key == self.file.run_key

    def _is_of_the_file(self, found: Answer | Refusal) -> bool:
        """Whether a report is of the file as it is now.

        Times are compared only where it does not say so: a file may have any time.
        """
        assert self.file
        if found.run_key:
            return found.run_key == self.file.run_key
        return found.written >= self.file.modified

    @property
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
            return self.answer.request.filename
        return self.refusal.filename if self.refusal else ""

    @property
    def area(self) -> str:
        return self.asks.area if self.asks else ""

    @property
    def asks(self) -> Question | None:
        """What is asked, by the request's file or else by the report."""
        return self.question or (self.answer.request.question if self.answer else None)


@dataclass(frozen=True)
class Snapshot:
    """What was there at a look: entries by name, newest first, and what there is to ask for."""

    entries: Mapping[str, Entry]
    available: Available

    @property
    def waiting(self) -> int:
        """How many are on their way; those of long ago are lost, and will not be answered."""
        since = time.time() - FORGOTTEN_SECONDS
        return sum(
            not (each.is_answered or each.is_refused or each.is_failed)
            for each in self.entries.values()
            if each.asked > since
        )


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
        self._questions: dict[str, tuple[str, Question | Refusal]] = {}
        self._answers: dict[str, tuple[str, Answer]] = {}
        self._refusals: dict[str, tuple[str, Refusal]] = {}
        self._failures: dict[str, tuple[str, Failure]] = {}

    def look(self) -> Snapshot:
        """Two listings; what is new or has changed is read."""
        files = intake.list_requests(self.root.requests) or []
        self._read_questions(files)
        listing = _listing(self.root.outputs)
        self._answers = self._read(listing, outputs.REPORT_SUFFIX, self._answers, _answer)
        self._refusals = self._read(listing, outputs.ERROR_SUFFIX, self._refusals, _refusal)
        self._failures = self._read(listing, outputs.FAILURE_SUFFIX, self._failures, _failure)
        by_name = {error_name(file.name): file for file in files}
        names = {*by_name, *self._answers, *self._refusals}  # a failure alone is of no use
        entries = (self._entry(name, by_name.get(name)) for name in names)
        newest_first = sorted(entries, key=lambda entry: (-entry.asked, entry.name))
        return Snapshot({entry.name: entry for entry in newest_first}, available.told(self.root))

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
        """Write a request's file anew, unless it is not the one that was seen any more.

        The sensor takes it for another version.
        """
        path = self.root.requests / request.filename
        content = request.to_json().encode()
        files = intake.list_requests(self.root.requests) or []
        there = next((file for file in files if file.name == request.filename), None)
        if there is None:
            return Sent.NEW if storage.write_new(path, content) else Sent.CHANGED
        if seen is None or there.fingerprint != seen.fingerprint:
            return Sent.CHANGED
        storage.write_bytes(path, content)
        return Sent.NEW

    def report(self, name: str) -> Report | None:
        """A report; None where there is none."""
        try:
            content = outputs.report_path(self.root, name).read_bytes()
        except FileNotFoundError:
            return None
        return Report.model_validate_json(content)

    def _question_under(self, request: Request) -> Question | Refusal | None:
        """What is asked under a request's name; None where nothing is."""
        try:
            content = (self.root.requests / request.filename).read_bytes()
        except FileNotFoundError:
            report = self.report(request.name)
            return report.request.question if report else None
        try:
            return read_request(request.filename, content).question
        except InvalidRequest as invalid:
            return Refusal(request.filename, str(invalid), 0)

    def _entry(self, name: str, file: Listed | None) -> Entry:
        _, held = self._questions.get(file.name, ("", None)) if file else ("", None)
        _, answer = self._answers.get(name, ("", None))
        _, refusal = self._refusals.get(name, ("", None))
        _, failure = self._failures.get(name, ("", None))
        if isinstance(held, Refusal):
            return Entry(name, file, None, answer, held)
        return Entry(name, file, held, answer, refusal, failure)

    def _read_questions(self, files: Iterable[Listed]) -> None:
        known = {
            file.name: self._questions[file.name]
            for file in files
            if self._questions.get(file.name, ("",))[0] == file.fingerprint
        }
        new = [file for file in files if file.name not in known]
        for outcome in intake.read(self.root.requests, new):
            match outcome:
                case Accepted(file, request):
                    known[file.name] = (file.fingerprint, request.question)
                case Rejected(file, reason):
                    refusal = Refusal(file.name, reason, file.modified, file.run_key)
                    known[file.name] = (file.fingerprint, refusal)
        self._questions = known

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
            name, version = filename.removesuffix(suffix), storage.version_of(entry)
            if name == filename or name != error_name(f"{name}{SUFFIX}"):
                continue  # not of this kind, or of a name that the platform does not give
            if name in before and before[name][0] == version:
                found[name] = before[name]
            else:
                new.append((name, version, entry))
        fs = self.root.outputs.fs
        contents = fs.cat_ranges([entry["name"] for *_, entry in new], 0, MAX_REPORT_BYTES)
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
        report.request, report.run_key, report.pickups.total, levels(report.by_hour), written
    )


def _refusal(content: bytes, written: float) -> Refusal:
    error = _ErrorFile.model_validate_json(content)
    return Refusal(error.request, error.reason, written, error.run_key)


def _failure(content: bytes, _written: float) -> Failure:
    return Failure.model_validate_json(content)


def _listing(folder: UPath) -> dict[str, Mapping[str, Any]]:
    """The entries of a folder, by name; none where there is no such folder."""
    folder.fs.invalidate_cache(folder.path)
    try:
        entries = folder.fs.ls(folder.path, detail=True)
    except FileNotFoundError:
        return {}
    return {entry["name"].rstrip("/").rpartition("/")[2]: entry for entry in entries}
