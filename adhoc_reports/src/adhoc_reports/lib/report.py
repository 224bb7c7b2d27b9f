"""How a report is computed from the lake."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from adhoc_reports.lib.outcome import (
    Coverage,
    Exclusion,
    LoadedMonth,
    Report,
    to_second,
    utc_now,
)
from adhoc_reports.lib.pickups import HourTrips, Pickups, count_weekdays, loaded_months, remark
from adhoc_reports.lib.request import Question
from taxi_shared.tables import TRIPS

if TYPE_CHECKING:
    import duckdb

    from taxi_shared.lake import Snapshot

QUERY = (files("adhoc_reports") / "sql" / "report_coverage.sql").read_text(encoding="utf-8")

Days = Sequence[tuple[Any, ...]]
"""Rows of `report_coverage.sql`: month, trips of the period, and how many of these have an unknown
zone or are of a month that is not loaded; untimed trips."""


def generate_report(
    con: "duckdb.DuckDBPyConnection",
    lake: "Snapshot",
    question: Question,
    hours: Sequence[HourTrips],
) -> Report:
    """The report that answers a question.

    con:   with views of days and zones, as of a moment of the lake
    hours: the pickups that were asked for
    """
    start, end = question.dates
    days = con.execute(QUERY, {"start_date": start, "end_date": end}).fetchall()
    loaded = {month: to_second(lake.files(TRIPS)[month.isoformat()].modified) for month, *_ in days}
    generated = utc_now()
    publishers = lake.publishers(con, TRIPS, [month.isoformat() for month in loaded])
    pickups = Pickups.of(hours, count_weekdays(question.dates, loaded_months(con)))
    return Report(
        generated=generated,
        by_hour=pickups.by_hour,
        weekdays=pickups.weekdays,
        remark=" ".join(filter(None, (remark(con, question), _as_of(lake)))),
        coverage=to_coverage(question, days, loaded, pickups.total),
        publishers=tuple(publishers),
    )


def _as_of(lake: "Snapshot") -> str:
    """A sentence on the version of the trips, where that is not the current one."""
    return f"Computed from version {lake.as_of[1]} of the trips." if lake.as_of else ""


def to_coverage(
    question: Question, days: Days, loaded: Mapping[date, datetime], counted: int
) -> Coverage:
    """The months that a question's numbers come from, and the trips of its days not counted.

    loaded:  when each month's file came into the lake
    counted: how many trips the numbers have
    """
    total, unknown, not_loaded, untimed = (sum(int(row[i]) for row in days) for i in range(1, 5))
    elsewhere = total - counted - unknown - not_loaded
    excluded = (
        (f"Picked up elsewhere than in {question.area}.", elsewhere),
        ("Picked up in a zone that is unknown or outside New York.", unknown),
        ("Picked up on days of months that are not loaded.", not_loaded),
        ("Without a pickup time, in the files of these months.", untimed),
    )
    return Coverage(
        months=tuple(
            LoadedMonth(month=month, loaded=loaded[month], trips=int(trips))
            for month, trips, *_ in days
        ),
        exclusions=tuple(Exclusion(reason=why, trips=trips) for why, trips in excluded if trips),
    )
