"""What pages and API do alike: look, ask, and follow a request."""

import functools
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from itertools import chain
from typing import TypeVar

import anyio

from adhoc_reports.lib.available import Available
from adhoc_reports.lib.intake import Listed
from adhoc_reports.lib.report import Report
from adhoc_reports.lib.request import SUFFIX, Problem, Question, Request, is_request_name, name_key
from adhoc_reports.portal.archive import Answer, Archive, Entry, Sent, Snapshot
from adhoc_reports.portal.cache import CachedValue, StaleCache
from adhoc_reports.portal.runs import Dagster, Scene
from adhoc_reports.portal.states import Progress, State, exact_progress, progress

T = TypeVar("T")
log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
PATIENCE_SECONDS = 4.0
STORAGE_THREADS = 16
# Few, because they compute, and the event loop competes with each of them for the interpreter.
COMPUTE_THREADS = 2
MAX_WAITING = 2_000
# An eighth of all. Without a proxy that names users, a whole company may share one address.
MAX_WAITING_PER_SENDER = 250
RETRY_SECONDS = 60
AWAY = "The storage does not answer. Nothing is lost; try again in a moment."
MISSING = "There is no such report."


class StorageAway(Exception):
    """The storage does not answer, or answers with an error."""


class NotThere(Exception):
    """There is no report of this name."""


class Refused(Exception):
    """A request that cannot be taken: an HTTP status, and the problems with its fields.

    retry_seconds: when to try again; 0 where that would not help
    """

    def __init__(self, status: int, *problems: Problem, retry_seconds: int = 0) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.status, self.problems = status, problems
        self.headers = {"retry-after": str(retry_seconds)} if retry_seconds else {}


@dataclass(frozen=True)
class View:
    """A request as it is shown."""

    entry: Entry
    progress: Progress

    @cached_property
    def text(self) -> str:
        """What a search looks through, in lower case."""
        reason = self.progress.reason
        return f"{self.entry.text} {reason.casefold()}" if reason else self.entry.text


@dataclass(frozen=True)
class Look:
    """Everything at a look: requests and reports, newest first, and what is the matter."""

    views: tuple[View, ...]
    available: Available
    trouble: tuple[str, ...]


@dataclass(frozen=True)
class Seen:
    """The files at a look, and whether that is how they are now."""

    value: Snapshot
    is_current: bool


class Office:
    """Over the files of an archive, and Dagster."""

    def __init__(self, archive: Archive, dagster: Dagster) -> None:
        self.archive, self.dagster = archive, dagster
        self._just_sent: dict[str, tuple[float, Entry]] = {}
        self._senders: dict[str, str] = {}
        self._sending: Counter[str] = Counter()
        self._views: dict[str, View] = {}
        self._snapshot_viewed: Snapshot | None = None
        self._scene_viewed: Scene | None = None
        self._compute_limiter = anyio.CapacityLimiter(COMPUTE_THREADS)
        self._limiter = anyio.CapacityLimiter(STORAGE_THREADS)
        self._snapshot = StaleCache(
            "the storage",
            lambda: anyio.to_thread.run_sync(archive.look, limiter=self._limiter),
            LOOK_SECONDS,
            PATIENCE_SECONDS,
        )

    async def storage(self, do: Callable[..., T], *arguments: object) -> T:
        """Read or write files. Raises StorageAway where that fails or takes too long."""
        try:
            with anyio.fail_after(PATIENCE_SECONDS):
                return await anyio.to_thread.run_sync(
                    functools.partial(do, *arguments),
                    abandon_on_cancel=True,
                    limiter=self._limiter,
                )
        except Exception as error:  # each kind of storage has its own
            log.warning("the storage does not answer: %r", error)
            raise StorageAway from error

    async def compute(self, function: Callable[..., T], *arguments: object) -> T:
        """Run what takes more than some milliseconds, away from the event loop."""
        return await anyio.to_thread.run_sync(
            functools.partial(function, *arguments), limiter=self._compute_limiter
        )

    async def look(self) -> Look:
        """All there is. Raises StorageAway where nothing was ever seen."""
        known = await self._files()
        scene: Scene = await self.dagster.scene()
        trouble = [scene.trouble] if scene.trouble else []
        if not known.is_current:
            trouble.insert(
                0, "The storage does not answer. What you see is what was there before that."
            )
        views = self._views_at(known.value, scene)
        if self._just_sent:
            sent = [View(entry, progress(entry, scene)) for _, entry in self._just_sent.values()]
            views = {view.entry.name: view for view in reversed(sent)} | {
                name: view for name, view in views.items() if name not in self._just_sent
            }
        return Look(tuple(views.values()), known.value.available, tuple(trouble))

    async def follow(self, name: str) -> View:
        """A request or report. Raises NotThere, or StorageAway where that is not known."""
        known = await self._files()
        entry = self._entry(known.value, name)
        if entry is None:
            raise NotThere if known.is_current else StorageAway
        return View(entry, await exact_progress(entry, self.dagster))

    async def ask(
        self, question: Question, name: str = "", sender: str = ""
    ) -> tuple[Request, Sent]:
        """Send a request, once, for a sender as `guard.sender_of` names it. Raises Refused."""
        known = await self._files()
        if problems := known.value.available.problems(question):
            raise Refused(422, *problems)
        if not name and (there := await self._answering(question)):
            return there, Sent.THERE
        request = _request(f"{name or automatic_name(question)}{SUFFIX}", question)
        if name and known.value.names.get(name_key(name), name) != name:
            raise _name_taken(name)
        with self._place(known.value, sender):
            sent = await self.storage(self.archive.send, request)
            if sent is Sent.NEW:
                self._has_sent(request, sender)
        if sent is Sent.OTHER:
            raise _name_taken(request.name)
        if self._entry(known.value, request.name) is None:
            self._snapshot.invalidate()  # another process has just sent the same
        return request, sent

    async def ask_again(self, view: View, sender: str = "") -> bool:
        """Have a report made again; False where there is no reason to. Raises Refused."""
        question = view.entry.asks
        if question is None or not await self.can_be_made_again(view):
            return False
        request = _request(view.entry.filename, question)
        with self._place((await self._files()).value, sender):
            sent = await self.storage(self.archive.send_again, request, view.entry.file)
            if sent is Sent.NEW:
                self._has_sent(request, sender, view.entry.answer)
        if sent is Sent.CHANGED:
            self._snapshot.invalidate()
            raise Refused(
                409, Problem("", "", "the request has been changed meanwhile; look again")
            )
        return True

    async def can_be_made_again(self, view: View, report: Report | None = None) -> bool:
        """Whether making it again may bring something else than what is there.

        Reads the report where it is needed and not given.
        """
        if not is_request_name(view.entry.filename):
            return False
        available = (await self._files()).value.available
        match view.progress.state:
            case State.FAILED:
                return True
            case State.REJECTED:  # a file that is no request stays one
                return bool(view.entry.question and not available.problems(view.entry.question))
            case State.DONE:
                report = report or await self.report(view)
                return bool(report and newer_months(report, available))
        return False

    async def report(self, view: View) -> Report | None:
        """The report of a request, perhaps of before it was asked again; None where none is."""
        if not view.entry.has_answer:
            return None
        return await self.storage(self.archive.report, view.entry.name)

    async def _files(self) -> Seen:
        """The files as they were seen last. Raises StorageAway where they never were."""
        known: CachedValue[Snapshot] = await self._snapshot.get()
        if known.value is None:
            raise StorageAway
        if self._just_sent:
            self._just_sent = {
                name: (sent, entry)
                for name, (sent, entry) in self._just_sent.items()
                if sent >= known.fetched
            }
        return Seen(known.value, known.is_current)

    async def _answering(self, question: Question) -> Request | None:
        """The newest request of a question that has or will have a report."""
        snapshot, scene = (await self._files()).value, await self.dagster.scene()
        sent = (e.filename for _, e in self._just_sent.values() if e.asks == question)
        ended_badly = (State.FAILED, State.REJECTED)
        seen = (
            entry.filename
            for entry in snapshot.by_question.get(question, ())
            if progress(entry, scene).state not in ended_badly
        )
        filename = next(chain(sent, seen), None)
        return _request(filename, question) if filename else None

    def _entry(self, snapshot: Snapshot, name: str) -> Entry | None:
        """A request by name, as it was sent since the snapshot or as that has it."""
        _, sent = self._just_sent.get(name, (0.0, None))
        return sent or snapshot.entries.get(name)

    def _views_at(self, snapshot: Snapshot, scene: Scene) -> dict[str, View]:
        """The requests of a snapshot as they are shown, by name.

        Worked out once for a snapshot and a scene; whatever has ended is kept from the last time.
        """
        if snapshot is not self._snapshot_viewed or scene is not self._scene_viewed:
            self._views = {
                name: _view(entry, scene, self._views.get(name))
                for name, entry in snapshot.entries.items()
            }
            self._snapshot_viewed, self._scene_viewed = snapshot, scene
        return self._views

    @contextmanager
    def _place(self, snapshot: Snapshot, sender: str) -> Iterator[None]:
        """Hold one of the waiting places while a request is sent.

        Raises Refused where the sender's share, or all places, are taken.
        """
        waiting = snapshot.waiting | self._just_sent.keys()
        self._senders = {name: who for name, who in self._senders.items() if name in waiting}
        own = list(self._senders.values()).count(sender) + self._sending[sender]
        if own >= MAX_WAITING_PER_SENDER:
            sentence = f"You have {own} requests waiting, the most allowed. Try again in a minute."
            raise Refused(429, Problem("", "", sentence), retry_seconds=RETRY_SECONDS)
        if len(waiting) + self._sending.total() >= MAX_WAITING:
            sentence = "Too many requests are waiting. Try again in a minute."
            raise Refused(503, Problem("", "", sentence), retry_seconds=RETRY_SECONDS)
        self._sending[sender] += 1
        try:
            yield
        finally:
            self._sending[sender] -= 1
            self._sending += Counter()  # keeps the positive ones

    def _has_sent(self, request: Request, sender: str, before: Answer | None = None) -> None:
        """Show a request from now on, until a look that began after this has seen its file."""
        file = Listed(request.filename, "", time.time(), 0)
        entry = Entry(request.name, file, request.question, before, None)
        self._just_sent[request.name] = time.monotonic(), entry
        self._senders[request.name] = sender


def _view(entry: Entry, scene: Scene, before: View | None) -> View:
    if before and before.entry is entry and (entry.is_answered or entry.is_refused):
        return before
    return View(entry, progress(entry, scene))


def _request(filename: str, question: Question) -> Request:
    return Request.model_validate({"filename": filename, **question.model_dump()})


def _name_taken(name: str) -> Refused:
    found = f"name is {name!r}"
    expected = "another report already has this name; choose another one"
    return Refused(409, Problem("name", found, expected))


def automatic_name(question: Question) -> str:
    """The name of a request that has none of its own: the same for the same question."""
    start, end = question.dates
    area = "".join(c if c.isalnum() else "-" for c in question.area.lower())
    area = "-".join(filter(None, area.split("-")))
    return f"{area}_{start}_{end - timedelta(days=1)}"


def newer_months(report: Report, available: Available) -> list[str]:
    """The months that were loaded after a report's numbers were counted: those that it rests on,
    and those of its period that had no trips of it."""
    start, end = report.request.dates
    counted = {each.month: each.loaded for each in report.basis.months}
    return [
        f"{each.month:%Y-%m}"
        for each in available.months
        if each.loaded > counted.get(each.month, report.made)
        and (each.month in counted or start.replace(day=1) <= each.month < end)
    ]
