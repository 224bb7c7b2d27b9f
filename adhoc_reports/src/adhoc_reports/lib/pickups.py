"""Pickups by hour of day and day of week: how they are counted, averaged, and written down."""

from calendar import monthrange
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.resources import files
from itertools import chain
from math import ceil, floor, log10
from typing import TYPE_CHECKING, NamedTuple

from adhoc_reports.lib.request import InvalidRequest, Question
from taxi_shared.tables import TRIP_DAYS, TRIPS, ZONES

if TYPE_CHECKING:
    import duckdb

    from taxi_shared import engines
    from taxi_shared.lake import Snapshot

WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
HOURS = range(24)
TAXIS = "Yellow taxi pickups"
"""What the reports count: green taxis and for-hire vehicles are in no report."""

COLOR_LEVELS = 7
"""Colours of a heat map above that of zero."""
NOT_COUNTED = "-"

QUERY = (files("adhoc_reports") / "sql" / "adhoc_request.sql").read_text(encoding="utf-8")
_NAMED_MONTHS = 3
_THREE_DIGITS = 100


class HourTrips(NamedTuple):
    """A row of `adhoc_request.sql`: hour of day, day of week (0 Sunday), and pickups."""

    hour_of_day: int
    day_of_week: int
    num_trips: int


@dataclass(frozen=True)
class Pickups:
    """Numbers of pickups: 24 hours, 7 days of the week each, from Sunday.

    weekdays: how many days of each weekday were counted, from Sunday
    """

    by_hour: tuple[tuple[int, ...], ...]
    weekdays: tuple[int, ...]

    @classmethod
    def of(cls, rows: Iterable[tuple[int, int, int]], weekdays: tuple[int, ...]) -> "Pickups":
        """From rows of hour, day of week (0 Sunday) and number; where there is no row, zero."""
        found = {(hour, weekday): number for hour, weekday, number in rows}
        by_hour = tuple(tuple(found.get((h, d), 0) for d in range(len(WEEKDAYS))) for h in HOURS)
        return cls(by_hour, weekdays)

    @property
    def total(self) -> int:
        """All pickups."""
        return sum(chain.from_iterable(self.by_hour))

    @property
    def counted(self) -> tuple[int, ...]:
        """The weekdays of which at least one day was counted, 0 Sunday."""
        return tuple(weekday for weekday, days in enumerate(self.weekdays) if days)

    @property
    def averages(self) -> tuple[tuple[float | None, ...], ...]:
        """Pickups per hour of a weekday: their sum over the number of its days.

        The shape is that of `by_hour`; None for a weekday of which no day was counted.
        """
        return tuple(
            tuple(n / days if days else None for n, days in zip(hour, self.weekdays, strict=True))
            for hour in self.by_hour
        )

    @property
    def busiest(self) -> tuple[int, int, float] | None:
        """The weekday and hour with the highest average, and that; None without pickups."""
        averages = self.averages
        found = [(averages[h][d] or 0, -d, -h) for d in self.counted for h in HOURS]
        average, weekday, hour = max(found, default=(0, 0, 0))
        return (-weekday, -hour, average) if average else None

    def to_csv(self) -> str:
        """A header, and a line for each hour: the hour, and the total of each weekday."""
        header = ",".join(("hour_of_day", *WEEKDAYS))
        lines = (",".join(map(str, (h, *self.by_hour[h]))) for h in HOURS)
        return "\n".join((header, *lines)) + "\n"

    def to_markdown(self) -> str:
        """The same as a table for people."""
        header = f"| Hour | {' | '.join(WEEKDAYS)} |\n|{' ---: |' * (1 + len(WEEKDAYS))}"
        lines = (f"| {h} | {' | '.join(f'{n:,}' for n in self.by_hour[h])} |" for h in HOURS)
        return "\n".join((header, *lines))


def color_levels(numbers: Sequence[Sequence[float | None]]) -> str:
    """A character per cell, weekday by weekday from Sunday, 24 hours each.

    A digit from 0, no pickup, to COLOR_LEVELS, or NOT_COUNTED. `numbers` has 24 hours, 7 weekdays
    each; None for a weekday of which no day was counted.
    """
    most = max((n for n in chain.from_iterable(numbers) if n is not None), default=0)
    return "".join(
        color_level(numbers[hour][weekday], most)
        for weekday in range(len(WEEKDAYS))
        for hour in HOURS
    )


def color_level(number: float | None, most: float) -> str:
    """The character of one cell, given the largest number of all cells; see `color_levels`."""
    if number is None:
        return NOT_COUNTED
    return str(min(COLOR_LEVELS, ceil(number * COLOR_LEVELS / most)) if most else 0)


def number_format(numbers: Iterable[float | None]) -> str:
    """The format specification for numbers that are shown together: three digits of the largest."""
    known = [number for number in numbers if number is not None]
    largest = max(known, default=0)
    if (
        largest >= _THREE_DIGITS
        or largest <= 0
        or all(float(number).is_integer() for number in known)
    ):
        return ",.0f"
    return f",.{2 - floor(log10(largest))}f"


def busiest_in_words(pickups: Pickups) -> str:
    """`Busiest: Tuesday, 18 to 19 h, …` with the average; empty without pickups."""
    if not pickups.busiest:
        return ""
    weekday, hour, average = pickups.busiest
    number = format(average, number_format(chain.from_iterable(pickups.averages)))
    what = f"{number} {'pickup' if number == '1' else 'pickups'}"
    on_average = " on average" if max(pickups.weekdays) > 1 else ""
    return f"Busiest: {WEEKDAYS[weekday]}, {hour} to {hour + 1} h, {what}{on_average}"


def by_hour_and_weekday(lake: "Snapshot", question: Question) -> "engines.Question[HourTrips]":
    """The pickups that a request asks for.

    Both the pickups and the days are those of loaded months: a file holds a few trips of the days
    before and after its month, and half a day of trips would pull an average down.
    """
    from taxi_shared import engines

    start, end = question.dates
    return engines.Question(
        "adhoc_request",
        QUERY,
        HourTrips,
        lake,
        [TRIP_DAYS, TRIPS, ZONES],
        {
            "borough": question.borough,
            "zone": question.zone,
            "start_date": start,
            "end_date": end,
        },
        question.dates,
    )


def loaded_months(con: "duckdb.DuckDBPyConnection") -> list[date]:
    """The first days of the months that the lake has."""
    found = con.execute("SELECT DISTINCT partition_date FROM trip_days ORDER BY ALL").fetchall()
    return [month for (month,) in found]


def count_weekdays(dates: tuple[date, date], months: Collection[date]) -> tuple[int, ...]:
    """How many days of each weekday, from Sunday, a period (its end excluded) has in months."""
    start, end = dates
    numbers = [0] * len(WEEKDAYS)
    for month in {month.replace(day=1) for month in months}:
        first = max(start, month)
        last = min(end - timedelta(days=1), _last_day(month))
        for weekday, days in enumerate(_weekdays_between(first, last)):
            numbers[weekday] += days
    return tuple(numbers)


def _weekdays_between(first: date, last: date) -> list[int]:
    """How many days of each weekday, from Sunday, there are from a first to a last day."""
    weeks, rest = divmod(max(0, (last - first).days + 1), len(WEEKDAYS))
    begin = first.isoweekday() % len(WEEKDAYS)
    return [weeks + ((d - begin) % len(WEEKDAYS) < rest) for d in range(len(WEEKDAYS))]


def _last_day(month: date) -> date:
    return month.replace(day=monthrange(month.year, month.month)[1])


def check_zone(con: "duckdb.DuckDBPyConnection", question: Question) -> None:
    """Raises InvalidRequest for a zone that its borough does not have."""
    query = "SELECT DISTINCT zone FROM zones WHERE borough = $borough ORDER BY zone"
    zones = [zone for (zone,) in con.execute(query, {"borough": question.borough}).fetchall()]
    if question.zone and zones and question.zone not in zones:
        raise InvalidRequest(
            f"zone is {question.zone!r}, which {question.borough} does not have; "
            f"expected one of {', '.join(zones)}"
        )


def remark(con: "duckdb.DuckDBPyConnection", question: Question) -> str:
    """A sentence on what the lake lacks for a question; empty where it lacks nothing."""
    if not con.execute("SELECT zone_id FROM zones LIMIT 1").fetchall():
        return "The taxi zones are not loaded, so nothing is counted."
    missing = missing_months(question.dates, loaded_months(con))
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
