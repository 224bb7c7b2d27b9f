"""Pickups by hour of day and day of week: how they are counted, and how they are written down."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from itertools import chain
from typing import TYPE_CHECKING

from adhoc_reports.lib.request import Question

if TYPE_CHECKING:
    import duckdb

WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
HOURS = range(24)

QUERY = (files("adhoc_reports") / "sql" / "adhoc_request.sql").read_text(encoding="utf-8")
_NAMED_MONTHS = 3


@dataclass(frozen=True)
class Pickups:
    """Numbers of pickups: 24 hours, 7 days of the week each, from Sunday."""

    by_hour: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, rows: Iterable[tuple[int, int, int]]) -> "Pickups":
        """From rows of hour, day of week (0 Sunday) and number; where there is no row, zero."""
        found = {(hour, weekday): number for hour, weekday, number in rows}
        return cls(tuple(tuple(found.get((h, d), 0) for d in range(len(WEEKDAYS))) for h in HOURS))

    @property
    def total(self) -> int:
        return sum(chain.from_iterable(self.by_hour))

    def of_weekday(self, weekday: int) -> tuple[int, ...]:
        """The 24 numbers of a day of the week, 0 Sunday."""
        return tuple(hour[weekday] for hour in self.by_hour)

    def to_csv(self) -> str:
        """A header, and a line for each hour: the hour, and the number of each day of the week."""
        header = ",".join(("hour_of_day", *WEEKDAYS))
        lines = (",".join(map(str, (h, *self.by_hour[h]))) for h in HOURS)
        return "\n".join((header, *lines)) + "\n"

    def to_markdown(self) -> str:
        """The same as a table for people."""
        header = f"| Hour | {' | '.join(WEEKDAYS)} |\n|{' ---: |' * (1 + len(WEEKDAYS))}"
        lines = (f"| {h} | {' | '.join(f'{n:,}' for n in self.by_hour[h])} |" for h in HOURS)
        return "\n".join((header, *lines))


def count_pickups(con: "duckdb.DuckDBPyConnection", question: Question) -> Pickups:
    """The pickups that a question asks for, by a connection with the views `trips` and `zones`."""
    start, end = question.dates
    parameters = {
        "borough": question.borough,
        "zone": question.zone,
        "start_date": start,
        "end_date": end,
    }
    return Pickups.of(con.execute(QUERY, parameters).fetchall())


def unknown_zone(con: "duckdb.DuckDBPyConnection", question: Question) -> str:
    """A sentence on a zone that its borough does not have; empty where all is well."""
    query = "SELECT DISTINCT zone FROM zones WHERE borough = $borough ORDER BY zone"
    zones = [zone for (zone,) in con.execute(query, {"borough": question.borough}).fetchall()]
    if not question.zone or not zones or question.zone in zones:
        return ""
    expected = f"expected one of {', '.join(zones)}"
    return f"zone is {question.zone!r}, which {question.borough} does not have; {expected}"


def remark(con: "duckdb.DuckDBPyConnection", question: Question) -> str:
    """A sentence on what the lake lacks for a question; empty where it lacks nothing."""
    if not con.execute("SELECT zone_id FROM zones LIMIT 1").fetchall():
        return "The taxi zones are not loaded, so nothing is counted."
    found = con.execute("SELECT DISTINCT partition_date FROM trip_days").fetchall()
    missing = missing_months(question.dates, (month for (month,) in found))
    if not missing:
        return ""
    named = ", ".join(month.isoformat()[:7] for month in missing[:_NAMED_MONTHS])
    more = len(missing) - _NAMED_MONTHS
    others = f" and {more:,} more months" if more > 0 else ""
    return f"Not loaded, so not counted: {named}{others}."


def missing_months(dates: tuple[date, date], loaded: Iterable[date]) -> list[date]:
    """The first days of the months that a period (its end excluded) touches and the lake lacks."""
    start, end = dates
    numbers = range(_number(start), _number(end) + (end.day > 1))
    present = {_number(month) for month in loaded}
    return [date(n // 12, n % 12 + 1, 1) for n in numbers if n not in present]


def _number(day: date) -> int:
    """Months since the year 0."""
    return day.year * 12 + day.month - 1
