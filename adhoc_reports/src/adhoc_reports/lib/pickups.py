"""Pickups by hour of day and day of week: how they are counted, averaged, and written down."""

from calendar import monthrange
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.resources import files
from itertools import chain
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from taxi_shared.tables import TRIP_DAYS, TRIPS, ZONES

if TYPE_CHECKING:
    from adhoc_reports.lib.request import Question
    from taxi_shared import engines
    from taxi_shared.lake import Snapshot
    from taxi_shared.tables import Table

WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
HOURS = range(24)
COLOR_LEVELS = 7
"""Colours of a heat map above that of zero."""
NOT_COUNTED = "-"

QUERY = (files("adhoc_reports") / "sql" / "adhoc_request.sql").read_text(encoding="utf-8")


class HourTrips(NamedTuple):
    """A row of `adhoc_request.sql`: hour of day, day of week (0 Sunday), and pickups."""

    hour_of_day: int
    day_of_week: int
    num_trips: int


@dataclass(frozen=True)
class Pickups:
    """Numbers of pickups: 24 hours, 7 days of the week each, from Sunday.

    weekdays: how many days of each weekday were counted, from Sunday
    values:   of another measure than trips, in the same shape as the numbers; None for trips
    """

    by_hour: tuple[tuple[int, ...], ...]
    weekdays: tuple[int, ...]
    values: tuple[tuple[float | None, ...], ...] | None = None

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
        """What the cells show: pickups per hour of a weekday, or the values of a measure.

        Pickups are their sum over the number of days. The shape is that of `by_hour`; None for a
        weekday of which no day was counted, and where no trip has a value.
        """
        if self.values is not None:
            return self.values
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


def by_hour_and_weekday(lake: "Snapshot", question: "Question") -> "engines.Question[HourTrips]":
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


def loaded_months(lake: "Snapshot", trips: "Table" = TRIPS) -> list[date]:
    """The first days of the months that a table of trips has."""
    return [date.fromisoformat(partition) for partition in lake.files(trips)]


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


def missing_months(dates: tuple[date, date], loaded: Iterable[date]) -> list[date]:
    """The first days of the months that a period (its end excluded) touches and the lake lacks."""
    start, end = dates
    numbers = range(_number(start), _number(end) + (end.day > 1))
    present = {_number(month) for month in loaded}
    return [date(n // 12, n % 12 + 1, 1) for n in numbers if n not in present]


def _number(day: date) -> int:
    """Months since the year 0."""
    return day.year * 12 + day.month - 1
