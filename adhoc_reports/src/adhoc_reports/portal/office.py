"""What pages and API do alike: look, ask, and follow a request."""

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import anyio

from adhoc_reports.lib.available import Available
from adhoc_reports.lib.report import Report
from adhoc_reports.lib.request import Problem, Question, Request
from adhoc_reports.portal.archive import Archive, Entry, Sent, Snapshot
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


class Office:
    """Over the files of an archive, and Dagster."""

    def __init__(self, archive: Archive, dagster: Dagster) -> None:
        self.archive, self.dagster = archive, dagster
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
        known: Known[Snapshot] = await self._snapshot.get()
        if known.value is None:
            raise StorageAway
        scene: Scene = await self.dagster.scene()
        trouble = [scene.trouble] if scene.trouble else []
        if not known.current:
            trouble.insert(
                0, "The storage does not answer. What you see is what was there before that."
            )
        return Look(
            tuple(
                View(entry, progress(entry, scene.runs)) for entry in known.value.entries.values()
            ),
            known.value.available,
            tuple(trouble),
        )

    async def follow(self, name: str) -> View | None:
        """A request or report; None where there is none of the name."""
        known = await self._snapshot.get()
        if known.value is None:
            raise StorageAway
        entry = known.value.entries.get(name)
        return View(entry, await exact_progress(entry, self.dagster)) if entry else None

    async def ask(self, question: Question, name: str = "") -> tuple[Request, Sent]:
        """Send a request, once. Raises Refused."""
        known = await self._snapshot.get()
        if known.value is None:
            raise StorageAway
        if problems := known.value.available.problems(question):
            raise Refused(422, *problems)
        if known.value.waiting >= MAX_WAITING:
            raise Refused(503, Problem("", "", "too many requests are waiting; try again later"))
        filename = f"{name or automatic_name(question)}.json"
        request = Request.model_validate({"filename": filename, **question.model_dump()})
        sent = await self.storage(self.archive.send, request)
        if sent is Sent.OTHER:
            found = f"name is {request.name!r}, which another request has"
            raise Refused(409, Problem("name", found, "expected a name that no other request has"))
        self._snapshot.forget()
        return request, sent

    async def ask_again(self, view: View) -> bool:
        """Have a report made again; False where there is no reason to."""
        question = view.entry.asks
        known = await self._snapshot.get()
        if question is None or known.value is None:
            return False
        failed = view.progress.state is State.FAILED
        report = None if failed else await self.report(view)
        if not failed and not (report and newer_months(report, known.value.available)):
            return False
        request = Request.model_validate({"filename": view.entry.filename, **question.model_dump()})
        await self.storage(self.archive.send_again, request)
        self._snapshot.forget()
        return True

    async def report(self, view: View) -> Report | None:
        """The report of a request that is answered; None where it is not there."""
        if view.progress.state is not State.DONE:
            return None
        return await self.storage(self.archive.report, view.entry.name)


def automatic_name(question: Question) -> str:
    """The name of a request that has none of its own: the same for the same question."""
    start, end = question.dates
    area = "".join(c if c.isalnum() else "-" for c in question.area.lower())
    area = "-".join(filter(None, area.split("-")))
    return f"{area}_{start}_{end - timedelta(days=1)}"


def newer_months(report: Report, available: Available) -> list[str]:
    """The months of a report's period that were loaded after it was made."""
    start, end = report.request.dates
    return [
        f"{each.month:%Y-%m}"
        for each in available.months
        if each.loaded > report.made
        and each.month < end
        and f"{each.month:%Y-%m}" >= f"{start:%Y-%m}"
    ]
