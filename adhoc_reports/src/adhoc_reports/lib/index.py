"""All requests and reports at one time, as the files say it.

A request is due where its outcome answers another content than its file has, as for make: there is
no other record of what was done.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from adhoc_reports.lib import request_files
from adhoc_reports.lib.outcome import Outcome, Status
from adhoc_reports.lib.pickups import color_levels
from adhoc_reports.lib.request import Question, name_key, shown_name
from adhoc_reports.lib.request_files import Content, RequestFile

WAITING = (Status.RECEIVED, Status.GENERATING)


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
            report.trips if report else None,
            color_levels(report.pickups.averages) if report and any(report.weekdays) else "",
        )


@dataclass(frozen=True)
class ReportEntry:
    """All that the files say about a request.

    name:    of its outputs and its page
    file:    the request's file; None where it has been removed
    content: what the file holds; None where it has not been read yet, or cannot be read any more
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
        about = f"{asks.heading} {asks.start_date} {asks.end_date}" if asks else ""
        return f"{self.filename} {about} {self.reason}".casefold()

    def _is_answered_by(self, outcome: OutcomeSummary) -> bool:
        if self.content is None:  # the outcome is all that is known
            return True
        return outcome.content_hash == self.content_hash


@dataclass(frozen=True)
class ReportIndex:
    """The result of a scan.

    entries:      by name, newest first
    postponed:    why files could not be read now, in plain words
    unread:       how many files this scan has left to later ones
    unknown:      names of `outputs/*.json` that are not outcomes, or not read yet
    has_requests: whether there is a folder `requests`
    """

    entries: Mapping[str, ReportEntry]
    postponed: Sequence[str] = ()
    unread: int = 0
    unknown: Sequence[str] = ()
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


def resolve_names(entries: Sequence[ReportEntry]) -> list[ReportEntry]:
    """Reject all but one of the requests whose outputs would be the same file on some systems.

    The one that has been answered keeps the name, or else the oldest.
    """
    spellings: dict[str, list[ReportEntry]] = defaultdict(list)
    for entry in entries:
        # A file that is not read yet but was answered before keeps its name.
        if entry.content.question if entry.content else entry.file and _was_accepted(entry.outcome):
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
