"""A report as one file: a request's numbers, and the data that they are computed from.

It is written last, so a reader who sees it finds the chart and the CSV beside it.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from adhoc_reports.lib.pickups import Pickups, count_weekdays
from adhoc_reports.lib.request import Question, Request

if TYPE_CHECKING:
    import duckdb

QUERY = (files("adhoc_reports") / "sql" / "report_basis.sql").read_text(encoding="utf-8")


class Month(BaseModel):
    """A month of TLC's files that has trips of the period.

    month:  its first day
    loaded: when its file came into the lake
    trips:  how many of the period it holds, wherever they were picked up
    """

    model_config = ConfigDict(frozen=True)

    month: date
    loaded: datetime
    trips: int


class LeftOut(BaseModel):
    """Trips that the numbers leave out, and why."""

    model_config = ConfigDict(frozen=True)

    reason: str
    trips: int


class Basis(BaseModel):
    """What a report's numbers rest on."""

    model_config = ConfigDict(frozen=True)

    months: tuple[Month, ...]
    left_out: tuple[LeftOut, ...]


Count = Annotated[int, Field(ge=0)]
Weekdays = Annotated[tuple[Count, ...], Field(min_length=7, max_length=7)]
Hours = Annotated[tuple[Weekdays, ...], Field(min_length=24, max_length=24)]
"""Numbers of pickups: 24 hours, 7 days of the week each, from Sunday."""


MAX_BYTES = 1024 * 1024
"""Largest report that is read; the platform's own have some 2 KB."""


def _weekdays_of_period(report: dict[str, Any]) -> Weekdays:
    """How many days of each weekday an older report counted, which does not say so itself."""
    request, basis = report["request"], report["basis"]
    return count_weekdays(request.dates, [each.month for each in basis.months])


class Report(BaseModel):
    """The answer to a request.

    run_id:     of the run that made it
    run_key:    of the version of the request's file that it answers; empty where it was asked for
                without a file
    by_hour:    numbers of pickups, 24 hours, 7 days of the week each, from Sunday
    remark:     what the lake lacked; empty where it lacked nothing
    weekdays:   how many days of each weekday were counted, from Sunday: those of loaded months
    publishers: of the months' files, see `taxi_shared.provenance`; empty in older reports
    """

    model_config = ConfigDict(frozen=True)

    request: Request
    made: datetime
    run_id: str
    run_key: str = ""
    by_hour: Hours
    remark: str
    basis: Basis
    weekdays: Weekdays = Field(default_factory=_weekdays_of_period)
    publishers: tuple[str, ...] = ()

    @property
    def pickups(self) -> Pickups:
        return Pickups(self.by_hour, self.weekdays)


Days = Sequence[tuple[Any, ...]]
"""Rows of `report_basis.sql`: month, trips of the period, and how many of these have an unknown
zone or are of a month that is not loaded; untimed trips."""


def trips_of_days(con: "duckdb.DuckDBPyConnection", question: Question) -> Days:
    """The trips of a question's days, wherever they were picked up, by month."""
    start, end = question.dates
    return con.execute(QUERY, {"start_date": start, "end_date": end}).fetchall()


def to_basis(
    question: Question, days: Days, loaded: Mapping[date, datetime], counted: int
) -> Basis:
    """The months that a question's numbers come from, and the trips of its days left out.

    loaded:  when each month's file came into the lake
    counted: how many trips the numbers have
    """
    total, unknown, not_loaded, untimed = (sum(int(row[i]) for row in days) for i in range(1, 5))
    elsewhere = total - counted - unknown - not_loaded
    left_out = (
        LeftOut(reason=f"Picked up elsewhere than in {question.area}.", trips=elsewhere),
        LeftOut(reason="Picked up in a zone that is unknown or outside New York.", trips=unknown),
        LeftOut(reason="Picked up on days of months that are not loaded.", trips=not_loaded),
        LeftOut(reason="Without a pickup time, in the files of these months.", trips=untimed),
    )
    return Basis(
        months=tuple(
            Month(month=month, loaded=loaded[month], trips=int(trips)) for month, trips, *_ in days
        ),
        left_out=tuple(each for each in left_out if each.trips),
    )


def at_moment(seconds: float) -> datetime:
    """A moment in seconds since 1970, to the second."""
    return datetime.fromtimestamp(int(seconds), UTC)
