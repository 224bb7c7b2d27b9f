"""What pages and API do alike: look, ask, and follow a request."""

import functools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import TypeVar

import anyio

from adhoc_reports.lib.available import Available
from adhoc_reports.lib.intake import Listed
from adhoc_reports.lib.report import Report
from adhoc_reports.lib.request import SUFFIX, Problem, Question, Request
from adhoc_reports.portal.archive import Answer, Archive, Entry, Sent, Snapshot
from adhoc_reports.portal.kept import Kept, Known
from adhoc_reports.portal.runs import Dagster, Scene
from adhoc_reports.portal.states import Progress, State, exact_progress, progress

T = TypeVar("T")
log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
PATIENCE_SECONDS = 4.0
STORAGE_THREADS = 16
MAX_WAITING = 2_000
AWAY = "The storage does not answer. Nothing is lost; try again in a moment."
MISSING = "There is no such report."


class StorageAway(Exception):
    """The storage does not answer, or answers with an error."""


class NotThere(Exception):
    """There is no report of this name."""


class Refused(Exception):
    """A request that cannot be taken: an HTTP status, and the problems with its fields."""

    def __init__(self, status: int, *problems: Problem) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.status, self.problems = status, problems


@dataclass(frozen=True)
class View:
    """A request as it is shown."""

    entry: Entry
    progress: Progress


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
    current: bool


class Office:
    """Over the files of an archive, and Dagster."""

    def __init__(self, archive: Archive, dagster: Dagster) -> None:
        self.archive, self.dagster = archive, dagster
        self._just_sent: dict[str, Entry] = {}
        self._limiter = anyio.CapacityLimiter(STORAGE_THREADS)
        self._snapshot = Kept(
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

    async def look(self) -> Look:
        """All there is. Raises StorageAway where nothing was ever seen."""
        known = await self._files()
        scene: Scene = await self.dagster.scene()
        trouble = [scene.trouble] if scene.trouble else []
        if not known.current:
            trouble.insert(
                0, "The storage does not answer. What you see is what was there before that."
            )
        return Look(
            tuple(View(entry, progress(entry, scene)) for entry in known.value.entries.values()),
            known.value.available,
            tuple(trouble),
        )

    async def follow(self, name: str) -> View:
        """A request or report. Raises NotThere, or StorageAway where that is not known."""
        known = await self._files()
        entry = self._just_sent.get(name) or known.value.entries.get(name)
        if entry is None:
            raise NotThere if known.current else StorageAway
        return View(entry, await exact_progress(entry, self.dagster))

    async def ask(self, question: Question, name: str = "") -> tuple[Request, Sent]:
        """Send a request, once. Raises Refused."""
        known = await self._files()
        if problems := known.value.available.problems(question):
            raise Refused(422, *problems)
        if not name and (there := await self._answering(question)):
            return there, Sent.THERE
        if known.value.waiting + len(self._just_sent) >= MAX_WAITING:
            raise Refused(503, Problem("", "", "too many requests are waiting; try again later"))
        request = _request(f"{name or automatic_name(question)}{SUFFIX}", question)
        sent = await self.storage(self.archive.send, request)
        if sent is Sent.OTHER:
            found = f"name is {request.name!r}, which another request has"
            raise Refused(409, Problem("name", found, "expected a name that no other request has"))
        self._has_sent(request)
        return request, sent

    async def ask_again(self, view: View) -> bool:
        """Have a report made again; False where there is no reason to. Raises Refused."""
        question = view.entry.asks
        if question is None or not await self.can_be_made_again(view):
            return False
        request = _request(view.entry.filename, question)
        sent = await self.storage(self.archive.send_again, request, view.entry.file)
        if sent is Sent.CHANGED:
            self._snapshot.forget()
            raise Refused(
                409, Problem("", "", "the request has been changed meanwhile; look again")
            )
        self._has_sent(request, view.entry.answer)
        return True

    async def can_be_made_again(self, view: View) -> bool:
        """Whether making it again may bring something else than what is there."""
        available = (await self._files()).value.available
        match view.progress.state:
            case State.FAILED:
                return True
            case State.REJECTED:  # a file that is no request stays one
                return bool(view.entry.question and not available.problems(view.entry.question))
            case State.DONE:
                report = await self.report(view)
                return bool(report and newer_months(report, available))
        return False

    async def report(self, view: View) -> Report | None:
        """The report of a request, perhaps of before it was asked again; None where none is."""
        if not view.entry.has_answer:
            return None
        return await self.storage(self.archive.report, view.entry.name)

    async def _files(self) -> Seen:
        """The files as they were seen last. Raises StorageAway where they never were."""
        known: Known[Snapshot] = await self._snapshot.get()
        if known.value is None:
            raise StorageAway
        if known.current:
            self._just_sent.clear()
        return Seen(known.value, known.current)

    async def _answering(self, question: Question) -> Request | None:
        """The newest request of a question that has or will have a report."""
        views = (await self.look()).views
        sent = (entry.filename for entry in self._just_sent.values() if entry.asks == question)
        ended_badly = (State.FAILED, State.REJECTED)
        seen = (
            view.entry.filename
            for view in views
            if view.entry.asks == question and view.progress.state not in ended_badly
        )
        filename = next(chain(sent, seen), None)
        return _request(filename, question) if filename else None

    def _has_sent(self, request: Request, before: Answer | None = None) -> None:
        """A request is there from now on, even where the storage cannot be looked at."""
        file = Listed(request.filename, "", time.time(), 0)
        self._just_sent[request.name] = Entry(request.name, file, request.question, before, None)
        self._snapshot.forget()


def _request(filename: str, question: Question) -> Request:
    return Request.model_validate({"filename": filename, **question.model_dump()})


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
