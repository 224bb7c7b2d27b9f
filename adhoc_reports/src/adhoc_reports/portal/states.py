"""How far a request is: from its files, and where they say nothing, from Dagster."""

import time
from dataclasses import dataclass, replace
from enum import StrEnum

from adhoc_reports.lib.failure import CANCELLED
from adhoc_reports.portal.archive import Entry
from adhoc_reports.portal.runs import AWAY, Dagster, NoAnswer, Run, Scene

# A run ends, and its report is seen at the next look.
SETTLED_SECONDS = 15.0
# A request is seen within seconds, and has a run as long as nobody deletes that.
LOST_SECONDS = 3600.0
LOST = "No run found. Try again."
GONE = "The report was made, but its files are gone. Try again."


class State(StrEnum):
    """How far a request is."""

    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    REJECTED = "rejected"


WORDS = {
    State.WAITING: "Received",
    State.QUEUED: "Queued",
    State.RUNNING: "Generating",
    State.DONE: "Done",
    State.FAILED: "Failed",
    State.REJECTED: "Rejected",
}
ON_ITS_WAY = (State.WAITING, State.QUEUED, State.RUNNING)
_OF_RUN = {
    **dict.fromkeys(("QUEUED", "NOT_STARTED"), State.QUEUED),
    **dict.fromkeys(("STARTING", "STARTED", "CANCELING", "SUCCESS"), State.RUNNING),
    **dict.fromkeys(("FAILURE", "CANCELED"), State.FAILED),
}


@dataclass(frozen=True)
class Progress:
    """A request's state; the run where there is one.

    reason:  of a bad end, in plain words
    details: the words of the error; empty where there are none
    """

    state: State
    run: Run | None = None
    reason: str = ""
    details: str = ""

    @property
    def words(self) -> str:
        return WORDS[self.state]

    @property
    def on_its_way(self) -> bool:
        return self.state in ON_ITS_WAY


def progress(entry: Entry, scene: Scene) -> Progress:
    """How far a request is, given what goes on in Dagster."""
    if entry.is_refused and entry.refusal:
        return Progress(State.REJECTED, reason=entry.refusal.reason)
    if entry.is_answered:
        return Progress(State.DONE)
    run = scene.runs.get(entry.file.version) if entry.file else None
    found = _of_run(run) if run else None
    if found and found.on_its_way:  # a run that failed before may have been tried again
        return found
    if entry.is_failed and entry.failure:
        failure = entry.failure
        run = run or Run(failure.run_id, "FAILURE", None)
        return Progress(State.FAILED, run, failure.reason, failure.details)
    if found:
        return found
    if scene.is_all and not scene.trouble and time.time() - entry.asked > LOST_SECONDS:
        return Progress(State.FAILED, reason=LOST)
    return Progress(State.WAITING)


def _of_run(run: Run) -> Progress:
    if run.status == "CANCELED":
        return Progress(State.FAILED, run, CANCELLED)
    if run.status == "SUCCESS" and time.time() - (run.ended or 0) > SETTLED_SECONDS:
        return Progress(State.FAILED, run, GONE)
    return Progress(_OF_RUN[run.status], run)


async def exact_progress(entry: Entry, dagster: Dagster) -> Progress:
    """The same for one request: its run is found however old it is, and why it failed."""
    scene = await dagster.scene()
    found = progress(entry, scene)
    if scene == AWAY or not entry.file or entry.is_failed:
        return found
    try:
        if found.run is None and found.state in (State.WAITING, State.FAILED):
            run = await dagster.run_of(entry.file.run_key)
            found = _of_run(run) if run else found
        if found.state is State.FAILED and found.run and not found.reason:
            reason, details = await dagster.failure(found.run.run_id)
            return replace(found, reason=reason, details=details)
    except NoAnswer:
        return found
    return found
