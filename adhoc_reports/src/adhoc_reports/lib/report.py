"""How a report is computed from the lake."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from adhoc_reports.lib.kinds import KINDS
from adhoc_reports.lib.kinds.kind import Facts, Rows
from adhoc_reports.lib.measures import MEASURES
from adhoc_reports.lib.outcome import (
    Coverage,
    Exclusion,
    LoadedMonth,
    Report,
    to_second,
    utc_now,
)
from adhoc_reports.lib.pickups import loaded_months, missing_months
from adhoc_reports.lib.request import InvalidRequest, Question
from adhoc_reports.lib.services import SERVICES
from adhoc_reports.lib.words import month_in_words

if TYPE_CHECKING:
    import duckdb

    from taxi_shared.lake import Snapshot

QUERY = (files("adhoc_reports") / "sql" / "report_coverage.sql").read_text(encoding="utf-8")
_NAMED_MONTHS = 3

Days = Sequence[tuple[Any, ...]]
"""Rows of `report_coverage.sql`: month, trips of the period, and how many of these have an unknown
zone or are of a month that is not loaded; untimed trips."""


def generate_report(
    con: "duckdb.DuckDBPyConnection",
    lake: "Snapshot",
    question: Question,
    answers: Sequence[Rows],
) -> Report:
    """The report that answers a question.

    con:     with views of the zones, and of the service's days for `question.span`
    answers: the rows of the queries of the question's kind
    """
    service = SERVICES[question.service]
    generated, months = utc_now(), loaded_months(lake, service.trips)
    modified = {m: to_second(f.modified) for m, f in lake.files(service.trips).items()}
    covered = [
        _coverage(con, part, rows, modified)
        for part, rows in zip(question.parts, answers, strict=False)
    ]
    used = {month.month for each in covered for month in each.months}
    publishers = lake.publishers(con, service.trips, sorted(map(str, used)))
    kind = KINDS[question.kind]
    facts = Facts(months, _zones(con) if kind.needs_zones else {})
    return Report(
        generated=generated,
        **kind.content(question, answers, facts),
        counted=sum(
            row.num_trips for _, rows in zip(question.parts, answers, strict=False) for row in rows
        ),
        remark=" ".join(filter(None, (remark(con, lake, question), _as_of(lake)))),
        coverage=_joined(question, covered),
        publishers=tuple(publishers),
    )


def _as_of(lake: "Snapshot") -> str:
    """A sentence on the version of the trips, where that is not the current one."""
    return f"Computed from version {lake.as_of[1]} of the trips." if lake.as_of else ""


def _zones(con: "duckdb.DuckDBPyConnection") -> dict[int, tuple[str, str, str | None]]:
    query = "SELECT zone_id, zone, borough, geometry FROM zones ORDER BY zone_id, zone"
    return {
        zone_id: (zone, borough, shape)
        for zone_id, zone, borough, shape in con.execute(query).fetchall()
    }


def _coverage(
    con: "duckdb.DuckDBPyConnection",
    part: Question,
    rows: Rows,
    modified: Mapping[str, datetime],
) -> Coverage:
    start, end = part.dates
    query = QUERY.format(days=SERVICES[part.service].days.name, side=part.side)
    days = con.execute(query, {"start_date": start, "end_date": end}).fetchall()
    loaded = {month: modified[month.isoformat()] for month, *_ in days}
    found = to_coverage(part, days, loaded, sum(row.num_trips for row in rows))
    measure = MEASURES[part.measure]
    unusable = 0 if measure.is_count else sum(row.num_trips - row.num_used for row in rows)
    if not unusable:
        return found
    reason = Exclusion(reason=f"{measure.excluded} They are not part of averages.", trips=unusable)
    return found.model_copy(update={"exclusions": (*found.exclusions, reason)})


def _joined(question: Question, covered: Sequence[Coverage]) -> Coverage:
    """The coverage of all parts; where there are two, an exclusion names its part."""
    if len(covered) == 1:
        return covered[0]
    months = {month.month: month for each in covered for month in each.months}
    return Coverage(
        months=tuple(months[month] for month in sorted(months)),
        exclusions=tuple(
            each.model_copy(update={"reason": f"{each.reason.rstrip('.')} ({name})."})
            for name, part in zip(KINDS[question.kind].part_names(question), covered, strict=True)
            for each in part.exclusions
        ),
    )


def to_coverage(
    question: Question, days: Days, loaded: Mapping[date, datetime], counted: int
) -> Coverage:
    """The months that a question's numbers come from, and the trips of its days not counted.

    loaded:  when each month's file came into the lake
    counted: how many trips the numbers have
    """
    total, unknown, not_loaded, untimed = (sum(int(row[i]) for row in days) for i in range(1, 5))
    elsewhere = total - counted - unknown - not_loaded
    ended = "Picked up" if question.side == "pickup" else "Dropped off"
    excluded = (
        (f"{ended} elsewhere than in {question.area}.", elsewhere),
        (f"{ended} in a zone that is unknown or outside New York.", unknown),
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


def check_zone(con: "duckdb.DuckDBPyConnection", question: Question) -> None:
    """Raises InvalidRequest for a zone that its borough does not have."""
    query = "SELECT DISTINCT zone FROM zones WHERE borough = $borough ORDER BY zone"
    for part, field in zip(question.parts, ("zone", "other_zone"), strict=False):
        found = con.execute(query, {"borough": part.borough}).fetchall()
        zones = [zone for (zone,) in found]
        if part.zone and zones and part.zone not in zones:
            raise InvalidRequest(
                f"{field} is {part.zone!r}, which {part.borough} does not have; "
                f"expected one of {', '.join(zones)}"
            )


def remark(con: "duckdb.DuckDBPyConnection", lake: "Snapshot", question: Question) -> str:
    """A sentence on what the lake lacks for a question; empty where it lacks nothing."""
    if not con.execute("SELECT zone_id FROM zones LIMIT 1").fetchall():
        return "The taxi zones are not loaded, so nothing is counted."
    loaded = loaded_months(lake, SERVICES[question.service].trips)
    parts = question.parts
    missing = sorted({m for part in parts for m in missing_months(part.dates, loaded)})
    if not missing:
        return ""
    named = ", ".join(month_in_words(month) for month in missing[:_NAMED_MONTHS])
    more = len(missing) - _NAMED_MONTHS
    others = f" and {more:,} more months" if more > 0 else ""
    return f"Not loaded, so not counted: {named}{others}."
