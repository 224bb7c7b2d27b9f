"""The outcome of a request: the one document `outputs/<name>.json`, which says how far it is.

A report's chart and CSV are written before it, so a reader who sees `done` finds them.
"""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from adhoc_reports.lib.pickups import Pickups
from adhoc_reports.lib.request import Question

ELSEWHERE = ("Picked up elsewhere", "Dropped off elsewhere")
"""How the reason begins why trips of other areas are not counted."""
MAX_BYTES = 1024 * 1024
"""Largest outcome that is read; the platform's own have some 3 KB."""
OLD_SUFFIX = re.compile(r"\.(report|error|failed)\.json$")
"""Of the documents that earlier releases wrote, see `upgrade`."""


class Status(StrEnum):
    """How far a request is. Only `RECEIVED` is never stored: it means that no outcome answers it.

    rejected: the request cannot be answered as it is
    failed:   the run that answered it has failed or was cancelled
    """

    RECEIVED = "received"
    GENERATING = "generating"
    DONE = "done"
    FAILED = "failed"
    REJECTED = "rejected"


def utc_now() -> datetime:
    """The time now, to the second."""
    return to_second(datetime.now(UTC))


def to_second(moment: datetime) -> datetime:
    """A time without the part of its second."""
    return moment.replace(microsecond=0)


def to_datetime(seconds: float) -> datetime:
    """The UTC time of seconds since 1970, to the second."""
    return datetime.fromtimestamp(int(seconds), UTC)


class LoadedMonth(BaseModel):
    """A month of TLC's files in the lake.

    month:  its first day
    loaded: when its file came into the lake
    trips:  in its file; in a report those of the report's days, wherever they were picked up
    """

    model_config = ConfigDict(frozen=True)

    month: date
    loaded: datetime
    trips: int


class Exclusion(BaseModel):
    """Trips that a report does not count, and why."""

    model_config = ConfigDict(frozen=True)

    reason: str
    trips: int

    @property
    def is_elsewhere(self) -> bool:
        """Whether they are trips of the same days in other areas."""
        return self.reason.startswith(ELSEWHERE)


class Coverage(BaseModel):
    """The data that a report is computed from: months, and the trips of its days not counted."""

    model_config = ConfigDict(frozen=True)

    months: tuple[LoadedMonth, ...]
    exclusions: tuple[Exclusion, ...]


Count = Annotated[int, Field(ge=0)]
Weekdays = Annotated[tuple[Count, ...], Field(min_length=7, max_length=7)]
Hours = Annotated[tuple[Weekdays, ...], Field(min_length=24, max_length=24)]


Cell = str | int | float | None


class Table(BaseModel):
    """Numbers as a table: a row for each observation.

    columns:  names for programs
    headings: the same for people, with units
    """

    model_config = ConfigDict(frozen=True)

    columns: tuple[str, ...] = ()
    headings: tuple[str, ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()


class Report(BaseModel):
    """The numbers that answer a question; each kind of report fills some of the fields.

    by_hour:    trips, 24 hours, 7 days of the week each, from Sunday
    weekdays:   how many days of each weekday were counted, from Sunday: those of loaded months
    values:     in the shape of by_hour, of another measure than trips; None where no trip has one
    table:      the numbers of the kinds that are not by hour and weekday
    totals:     the value of each part of a comparison
    shapes:     of zones by their id, see `shapes`
    counted:    how many trips the report is about; None in outcomes of earlier releases, which are
                by hour and weekday
    remark:     what the lake lacked; empty where it lacked nothing
    publishers: of the months' files, see `taxi_shared.provenance`
    """

    model_config = ConfigDict(frozen=True)

    generated: AwareDatetime
    by_hour: Hours = ((0,) * 7,) * 24
    weekdays: Weekdays = (0,) * 7
    values: tuple[tuple[float | None, ...], ...] | None = None
    table: Table = Table()
    totals: tuple[float | None, ...] = ()
    shapes: dict[str, str] = {}
    counted: Count | None = None
    remark: str
    coverage: Coverage
    publishers: tuple[str, ...] = ()

    @property
    def pickups(self) -> Pickups:
        """The numbers, to be averaged and drawn."""
        return Pickups(self.by_hour, self.weekdays, self.values)

    @property
    def rows(self) -> Sequence[Any]:
        """The rows of the table; the kind of report knows the types of their cells."""
        return self.table.rows

    @property
    def trips(self) -> int:
        """How many trips the report is about."""
        return self.pickups.total if self.counted is None else self.counted


def _in_utf8(name: str) -> str:
    return name.encode(errors="replace").decode()


class Outcome(BaseModel):
    """What became of a request.

    filename:     of the request's file; `?` for each byte of it that is not UTF-8
    content_hash: of the content that this answers, see `RequestFile`
    request:      the question; None where the file holds no valid one
    reason:       why it failed or was rejected, in plain words; else empty
    details:      the text of the error; empty where there is none
    run_id:       of the run that answers it; empty where there was none
    report:       the answer; while it is generated again, or after that has failed, the answer of
                  before to the same question
    """

    model_config = ConfigDict(frozen=True)

    status: Status
    filename: Annotated[str, AfterValidator(_in_utf8)]
    content_hash: str
    request: Question | None
    reason: str = ""
    details: str = ""
    updated: AwareDatetime = Field(default_factory=utc_now)
    run_id: str = ""
    report: Report | None = None
