"""What pages and API share: find, submit and regenerate reports."""

import functools
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from itertools import chain
from typing import TypeVar

import anyio
from starlette.exceptions import HTTPException

from adhoc_reports.lib.catalog import LONG_AGO, Catalog, read_catalog, read_intake_status
from adhoc_reports.lib.index import OutcomeSummary, ReportEntry, ReportIndex
from adhoc_reports.lib.outcome import Outcome, Status
from adhoc_reports.lib.request import (
    MAX_NAME_CHARACTERS,
    SUFFIX,
    Problem,
    Question,
    is_request_name,
    name_key,
)
from adhoc_reports.lib.request_files import Content, RequestFile
from adhoc_reports.lib.store import ReportStore, Submission
from adhoc_reports.lib.words import month_in_words
from adhoc_reports.portal.cache import CachedValue, StaleCache
from taxi_shared import source_status
from taxi_shared.source_status import SourceStatus, format_time

T = TypeVar("T")
log = logging.getLogger(__name__)

SERVICE = "yellow"
SCAN_SECONDS = 1.0
# A page that waits asks again after the first; the second is spent looking at one file.
FOLLOW_SECONDS = 5.0
FOLLOW_POLL_SECONDS = 0.1
STORAGE_TIMEOUT_SECONDS = 4.0
STORAGE_THREADS = 16
# Few, because they compute, and each of them competes with the event loop for the interpreter.
COMPUTE_THREADS = 2
MAX_WAITING = 2_000
# An eighth of all. Without a proxy that names users, a whole company may share one address.
MAX_WAITING_PER_SENDER = 250
RETRY_SECONDS = 60
MAX_SEARCH_CHARACTERS = 200
SENSOR_SILENT_SECONDS = 60.0
SLOW_SECONDS = 120.0

UNAVAILABLE = "The storage is not responding. Nothing is lost; try again in a moment."
STALE = "The storage is not responding. This page shows its last known state."
SLOW = "Reports are taking longer than usual."
NOT_FOUND = "There is no such report."


class StorageUnavailable(HTTPException):
    """The storage does not respond, or responds with an error."""

    def __init__(self) -> None:
        super().__init__(503, UNAVAILABLE)


class ReportNotFound(HTTPException):
    """There is no report of this name."""

    def __init__(self) -> None:
        super().__init__(404, NOT_FOUND)


class RequestRefused(HTTPException):
    """A request that is not accepted: an HTTP status, and what is wrong with its fields.

    retry_seconds: when to try again; 0 where that would not help
    """

    def __init__(self, status: int, *problems: Problem, retry_seconds: int = 0) -> None:
        headers = {"retry-after": str(retry_seconds)} if retry_seconds else {}
        super().__init__(status, "; ".join(map(str, problems)), headers)
        self.problems = problems


@dataclass(frozen=True)
class Overview:
    """All requests and reports, newest first.

    catalog: the months and zones that can be requested
    source:  the state of the source of new months; None if it is unknown
    notices: sentences on what keeps requests from being answered; mostly none
    """

    entries: Sequence[ReportEntry]
    catalog: Catalog
    source: SourceStatus | None
    notices: Sequence[str]


@dataclass(frozen=True)
class Snapshot:
    """The files at one time.

    checked: when the sensor last looked for requests; LONG_AGO if it never did
    """

    index: ReportIndex
    catalog: Catalog
    source: SourceStatus | None
    checked: datetime


class ReportService:
    """Reads and writes the files of a `ReportStore` without blocking the event loop."""

    def __init__(self, store: ReportStore) -> None:
        self.store = store
        self._just_sent: dict[str, tuple[float, ReportEntry]] = {}
        self._senders: dict[str, str] = {}
        self._sending: Counter[str] = Counter()
        self._compute_limiter = anyio.CapacityLimiter(COMPUTE_THREADS)
        self._storage_limiter = anyio.CapacityLimiter(STORAGE_THREADS)
        self._snapshots = StaleCache(
            "the storage", self._take_snapshot, SCAN_SECONDS, STORAGE_TIMEOUT_SECONDS
        )

    async def run_on_storage(self, function: Callable[..., T], *arguments: object) -> T:
        """Read or write files. Raises StorageUnavailable if that fails or takes too long."""
        try:
            with anyio.fail_after(STORAGE_TIMEOUT_SECONDS):
                return await anyio.to_thread.run_sync(
                    functools.partial(function, *arguments),
                    abandon_on_cancel=True,
                    limiter=self._storage_limiter,
                )
        except Exception as error:  # each kind of storage raises its own
            log.warning("the storage is not responding: %r", error)
            raise StorageUnavailable from error

    async def compute(self, function: Callable[..., T], *arguments: object) -> T:
        """Run a function that takes more than some milliseconds, off the event loop."""
        return await anyio.to_thread.run_sync(
            functools.partial(function, *arguments), limiter=self._compute_limiter
        )

    def refresh(self) -> None:
        """Scan the files again before the next answer."""
        self._snapshots.invalidate()

    async def overview(self) -> Overview:
        """All requests and reports. Raises StorageUnavailable if they were never read."""
        snapshot, is_current = await self._snapshot()
        entries = snapshot.index.entries
        if self._just_sent:
            sent = {entry.name: entry for _, entry in reversed(self._just_sent.values())}
            entries = {**sent, **{n: e for n, e in entries.items() if n not in sent}}
        found = notices(snapshot, datetime.now(UTC))
        return Overview(
            tuple(entries.values()),
            snapshot.catalog,
            snapshot.source,
            found if is_current else [STALE, *found],
        )

    async def find(self, name: str) -> ReportEntry:
        """A request or report. Raises ReportNotFound, or StorageUnavailable if that is unknown."""
        snapshot, is_current = await self._snapshot()
        entry = self._entry(snapshot, name)
        if entry is None:
            raise ReportNotFound if is_current else StorageUnavailable
        return entry

    async def follow(self, name: str, known: Status) -> None:
        """Wait until a request has another state than `known`, a few seconds at most.

        Errors are those of `find`.
        """
        deadline = time.monotonic() + FOLLOW_SECONDS
        version = await self.run_on_storage(self.store.outcome_version, name)
        self.refresh()
        while (await self.find(name)).status is known and time.monotonic() < deadline:
            await anyio.sleep(FOLLOW_POLL_SECONDS)
            before, version = version, await self.run_on_storage(self.store.outcome_version, name)
            if version != before:
                self.refresh()

    async def outcome(self, entry: ReportEntry) -> Outcome | None:
        """The whole outcome of a request; None if there is none, or if it is rejected."""
        if entry.outcome is None or entry.status is Status.REJECTED:
            return None
        outcome = await self.run_on_storage(self.store.read_outcome, entry.name)
        return outcome if outcome and outcome.request == entry.question else None

    async def submit(
        self, question: Question, name: str = "", sender: str = ""
    ) -> tuple[str, Submission]:
        """Submit a request, once, and return its name. Raises RequestRefused.

        name:   empty for one made of area and days
        sender: as by `guard.sender_of`
        """
        snapshot, _ = await self._snapshot()
        if problems := snapshot.catalog.problems(question):
            raise RequestRefused(422, *problems)
        if not name and (existing := self._same_question(snapshot, question)):
            return existing.name, Submission.DUPLICATE
        if name and snapshot.index.names.get(name_key(name), name) != name:
            raise _name_taken(name)
        name = name or default_name(question)
        with self._waiting_place(snapshot, sender):
            submission = await self.run_on_storage(self.store.submit, name, question)
            if submission is Submission.NEW:
                self._remember(name, question, sender)
        if submission is Submission.NAME_TAKEN:
            raise _name_taken(name)
        if self._entry(snapshot, name) is None:
            self.refresh()  # another process has just submitted the same
        return name, submission

    async def regenerate(self, entry: ReportEntry, sender: str = "") -> bool:
        """Have a request answered again; False where that is pointless. Raises RequestRefused."""
        question = entry.question
        if question is None or not await self.can_regenerate(entry):
            return False
        snapshot, _ = await self._snapshot()
        with self._waiting_place(snapshot, sender):
            submission = await self.run_on_storage(self.store.resubmit, entry, question)
            if submission is Submission.NEW:
                self._remember(entry.name, question, sender, entry.outcome)
        if submission is Submission.CHANGED:
            self.refresh()
            changed = "The request has been changed in the meantime. Reload the page."
            raise RequestRefused(409, Problem("", "", changed))
        return True

    async def can_regenerate(self, entry: ReportEntry, outcome: Outcome | None = None) -> bool:
        """Whether answering a request again may give another result.

        Reads the outcome where it is needed and not given.
        """
        if not is_request_name(entry.filename):
            return False
        catalog = (await self._snapshot())[0].catalog
        match entry.status:
            case Status.FAILED:
                return True
            case Status.REJECTED:  # a file that is no request stays one
                return bool(entry.question and not catalog.problems(entry.question))
            case Status.DONE:
                outcome = outcome or await self.outcome(entry)
                return bool(outcome and newer_months(outcome, catalog))
        return False

    def _take_snapshot_now(self) -> Snapshot:
        root = self.store.root
        source = source_status.load(root, SERVICE)
        checked = read_intake_status(root).checked
        return Snapshot(self.store.scan(), read_catalog(root), source, checked)

    async def _take_snapshot(self) -> Snapshot:
        return await anyio.to_thread.run_sync(
            self._take_snapshot_now, limiter=self._storage_limiter
        )

    async def _snapshot(self) -> tuple[Snapshot, bool]:
        """The last snapshot, and whether it is current. Raises StorageUnavailable without one."""
        cached: CachedValue[Snapshot] = await self._snapshots.get()
        if cached.value is None:
            raise StorageUnavailable
        if self._just_sent:
            self._just_sent = {
                name: (sent, entry)
                for name, (sent, entry) in self._just_sent.items()
                if sent >= cached.fetched
            }
        return cached.value, cached.is_current

    def _same_question(self, snapshot: Snapshot, question: Question) -> ReportEntry | None:
        """The newest request of a question that has or will have a report."""
        sent = (entry for _, entry in self._just_sent.values() if entry.question == question)
        seen = snapshot.index.by_question.get(question, ())
        unanswered = (Status.FAILED, Status.REJECTED)
        return next((each for each in chain(sent, seen) if each.status not in unanswered), None)

    def _entry(self, snapshot: Snapshot, name: str) -> ReportEntry | None:
        """A request by name, as sent since the snapshot, or as in the snapshot."""
        _, sent = self._just_sent.get(name, (0.0, None))
        return sent or snapshot.index.entries.get(name)

    @contextmanager
    def _waiting_place(self, snapshot: Snapshot, sender: str) -> Iterator[None]:
        """Hold a place in the queue while a request is sent. Raises RequestRefused if it is full.

        The places of a sender, and of all senders, are limited.
        """
        waiting = {entry.name for entry in snapshot.index.waiting} | self._just_sent.keys()
        self._senders = {name: who for name, who in self._senders.items() if name in waiting}
        own = list(self._senders.values()).count(sender) + self._sending[sender]
        if own >= MAX_WAITING_PER_SENDER:
            sentence = f"You have {own} requests waiting, the most allowed. Try again in a minute."
            raise RequestRefused(429, Problem("", "", sentence), retry_seconds=RETRY_SECONDS)
        if len(waiting) + self._sending.total() >= MAX_WAITING:
            sentence = "Too many requests are waiting. Try again in a minute."
            raise RequestRefused(503, Problem("", "", sentence), retry_seconds=RETRY_SECONDS)
        self._sending[sender] += 1
        try:
            yield
        finally:
            self._sending[sender] -= 1
            self._sending += Counter()  # keeps the positive ones

    def _remember(
        self, name: str, question: Question, sender: str, before: OutcomeSummary | None = None
    ) -> None:
        """Show a request from now on; the next scan that begins after this reads its file."""
        file = RequestFile(f"{name}{SUFFIX}", "", time.time(), 0)
        entry = ReportEntry(name, file, Content("", question), before)
        self._just_sent[name] = time.monotonic(), entry
        self._senders[name] = sender


def notices(snapshot: Snapshot, now: datetime) -> list[str]:
    """Sentences on what keeps requests from being answered; mostly none."""
    checked = snapshot.checked
    # In the future too: the clock was ahead.
    if abs((now - checked).total_seconds()) > SENSOR_SILENT_SECONDS:
        last = f" (last at {format_time(checked, now)})" if checked > LONG_AGO else ""
        return [
            f"The platform is not looking for requests at the moment{last}. Requests are kept, "
            "and answered when it is back."
        ]
    index, slow_since = snapshot.index, now.timestamp() - SLOW_SECONDS
    if not any(entry.submitted < slow_since for entry in index.waiting):
        return []
    outcomes = (entry.outcome for entry in index.entries.values())
    is_progressing = any(outcome and outcome.updated >= slow_since for outcome in outcomes)
    return [] if is_progressing else [SLOW]


def matching(entries: Sequence[ReportEntry], words: str) -> list[ReportEntry]:
    """The entries that contain all words, in any case. Raises RequestRefused for too many.

    Takes some milliseconds per thousand entries.
    """
    if len(words) > MAX_SEARCH_CHARACTERS:
        sentence = f"Search for at most {MAX_SEARCH_CHARACTERS} characters."
        raise RequestRefused(422, Problem("q", "", sentence))
    found = list(entries)
    for word in dict.fromkeys(words.casefold().split()):
        found = [entry for entry in found if word in entry.text]
    return found


def default_name(question: Question) -> str:
    """The name of a request that was given none: the same for the same question."""
    start, end = question.dates
    given = question.model_dump(exclude_defaults=True)
    others = [str(given[field]) for field in Question.model_fields if field in given][3:]
    if question.zone:
        others.remove(question.zone)
    parts = [_slug(question.area), str(start), str(end - timedelta(days=1)), *map(_slug, others)]
    name = "_".join(parts)
    if len(name) <= MAX_NAME_CHARACTERS:
        return name
    return f"{name[: MAX_NAME_CHARACTERS - 9]}_{blake2b(name.encode(), digest_size=4).hexdigest()}"


def _slug(text: str) -> str:
    """A text in lower case, with one `-` between its words."""
    words = "".join(c if c.isalnum() else "-" for c in text.lower())
    return "-".join(filter(None, words.split("-")))


def newer_months(outcome: Outcome, catalog: Catalog) -> list[str]:
    """The months, in words, loaded after a report counted them.

    They are months that it covers, and months of its period that had no trips of it.
    """
    report, question = outcome.report, outcome.request
    if report is None or question is None:
        return []
    periods = [part.dates for part in question.parts]
    counted = {each.month: each.loaded for each in report.coverage.months}
    return [
        month_in_words(each.month)
        for each in catalog.of_service(question.service).months
        if each.loaded > counted.get(each.month, report.generated)
        and (
            each.month in counted
            or any(start.replace(day=1) <= each.month < end for start, end in periods)
        )
    ]


def _name_taken(name: str) -> RequestRefused:
    found = f"name is {name!r}"
    expected = "another report already has this name; choose another one"
    return RequestRefused(409, Problem("name", found, expected))
