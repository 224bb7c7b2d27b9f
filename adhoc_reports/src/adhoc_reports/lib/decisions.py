"""What a tick of the sensor does about requests, given the files, the partitions and the runs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from adhoc_reports.lib.index import ReportEntry, ReportIndex
from adhoc_reports.lib.outcome import Status

FILES_PER_TICK = 100
# Requests beyond these stay in their folder, where they cost less than runs in the queue.
MAX_UNFINISHED_RUNS = 200


@dataclass(frozen=True)
class Decision:
    """What to do about requests, each in portions.

    to_run:      requests to start a run for: those without an outcome first, then the oldest
    to_reject:   files that are no valid request
    to_register: requests that are answered and have no partition, as after an upgrade
    withdrawn:   partitions whose request file is gone
    obsolete:    outcomes of rejected files that are gone or have been renamed
    waiting:     how many files are left for the next ticks
    lost:        runs that have ended, and whose outcomes were removed since, by name
    """

    to_run: Sequence[ReportEntry] = ()
    to_reject: Sequence[ReportEntry] = ()
    to_register: Sequence[ReportEntry] = ()
    withdrawn: Sequence[str] = ()
    obsolete: Sequence[str] = ()
    waiting: int = 0
    lost: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return self == Decision()

    @property
    def depends_on_runs(self) -> bool:
        """Whether runs that have not finished change what is to do, see `without_running`."""
        return bool(self.to_run or self.withdrawn)

    def without_running(self, running: Collection[str]) -> "Decision":
        """The decision, given the partitions of the runs that have not finished.

        A request is due again when its run has ended: of two versions, the later one is
        answered last.
        """
        to_run = [entry for entry in self.to_run if entry.name not in running]
        limit = min(FILES_PER_TICK, max(0, MAX_UNFINISHED_RUNS - len(running)))
        return replace(
            self,
            to_run=tuple(to_run[:limit]),
            withdrawn=tuple(name for name in self.withdrawn if name not in running),
            waiting=self.waiting + len(to_run[limit:]),
        )


def decide(index: ReportIndex, partitions: Collection[str]) -> Decision:
    """What to do about the requests of an index, given the partitions that Dagster has.

    While there is no folder of requests, there is nothing to do: its requests are not gone. Nor are
    they where several have disappeared at once and none is left: a disk may not be mounted.
    """
    if not index.has_requests:
        return Decision()
    by_age = sorted(
        index.entries.values(), key=lambda e: (e.outcome is not None, e.submitted, e.name)
    )
    due = [entry for entry in by_age if entry.is_due]
    gone = [entry for entry in by_age if entry.file is None and entry.outcome]
    withdrawn = tuple(entry.name for entry in gone if entry.name in partitions)
    if len(withdrawn) > 1 and not any(entry.file for entry in by_age):
        withdrawn = ()
    return Decision(
        to_run=tuple(entry for entry in due if entry.question),
        to_reject=tuple(entry for entry in due if not entry.question)[:FILES_PER_TICK],
        to_register=tuple(
            entry
            for entry in by_age
            if entry.name not in partitions
            and not entry.is_due
            and entry.content
            and entry.content.question
        )[:FILES_PER_TICK],
        withdrawn=withdrawn[:FILES_PER_TICK],
        obsolete=tuple(
            entry.name
            for entry in gone
            if entry.name not in partitions and entry.status is Status.REJECTED
        )[:FILES_PER_TICK],
    )
