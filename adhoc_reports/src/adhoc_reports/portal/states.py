"""How far a request is: from its files, and where they say nothing, from Dagster."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from adhoc_reports.portal.archive import Entry
from adhoc_reports.portal.runs import Dagster, Run

# A run ends, and its report is seen at the next look.
SETTLED_SECONDS = 15.0


class State(StrEnum):
    """How far a request is."""

    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    REJECTED = "rejected"


WORDS = {
    State.WAITING: "Waiting to be seen",
    State.QUEUED: "Queued",
    State.RUNNING: "Being made",
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
    """A request's state; the run where there is one; for a bad end its reason, in plain words."""

    state: State
    run: Run | None = None
    reason: str = ""

    @property
    def words(self) -> str:
        return WORDS[self.state]

    @property
    def on_its_way(self) -> bool:
        return self.state in ON_ITS_WAY


def progress(entry: Entry, runs: Mapping[str, Run]) -> Progress:
    """How far a request is, given the runs of Dagster by their run keys."""
    if entry.is_refused and entry.refusal:
        return Progress(State.REJECTED, reason=entry.refusal.reason)
    if entry.is_answered:
        return Progress(State.DONE)
    run = runs.get(entry.file.run_key) if entry.file else None
    if run is None:
        return Progress(State.WAITING)
    if run.status == "CANCELED":
        return Progress(State.FAILED, run, "Somebody ended the run before it was done.")
    if run.status == "SUCCESS" and time.time() - (run.ended or 0) > SETTLED_SECONDS:
        return Progress(State.FAILED, run, "The report was made, but its files are gone.")
    return Progress(_OF_RUN[run.status], run)


async def exact_progress(entry: Entry, dagster: Dagster) -> Progress:
    """The same for one request: its run is found however old it is, and why it failed."""
    runs = (await dagster.scene()).runs
    found = progress(entry, runs)
    if found.state == State.WAITING and entry.file:
        run = await dagster.run_of(entry.file.run_key)
        found = progress(entry, {entry.file.run_key: run}) if run else found
    if found.state == State.FAILED and found.run and not found.reason:
        reason = await dagster.failure(found.run.run_id)
        return Progress(found.state, found.run, reason or "Dagster has recorded no reason.")
    return found
