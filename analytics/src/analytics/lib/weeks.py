"""Weeks of trips: their figures, and which of them can be made now."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import NamedTuple

from taxi_shared.io_managers import DataFrame
from taxi_shared.partitions import sunday_of

COLUMNS = ("period", "num_trips", "total_amount", "trip_distance", "passenger_count")


class WeekTotals(NamedTuple):
    """A row of `trips_by_week.sql`; amounts in US dollars and miles, None where none is known."""

    period: date
    num_trips: int
    total_amount: Decimal | None
    trip_distance: Decimal | None
    passenger_count: int
    num_without_amount: int
    num_without_distance: int


@dataclass(frozen=True)
class WeekPlan:
    """Weeks to make now, and the weeks that wait, by the month (`2023-03-01`) that they wait for.

    `num_weeks` is the number of all weeks so far.
    """

    num_weeks: int
    ready: tuple[str, ...]
    waiting: dict[str, tuple[str, ...]]

    @property
    def reason_to_wait(self) -> str:
        """Which weeks wait for each month that is not loaded; or that no week is missing."""
        if not self.waiting:
            return f"All {self.num_weeks} weeks are up to date."
        return "; ".join(
            f"{month[:7]} is not loaded: {_waiting(weeks)}" for month, weeks in self.waiting.items()
        )


def fill_empty_weeks(totals: Iterable[WeekTotals], weeks: Sequence[str]) -> DataFrame:
    """The totals of weeks as a frame, sorted; a week without trips has zeros.

    Sums of money and miles stay `Decimal` with two places, or None.
    """
    import pandas as pd

    none = (0, Decimal("0.00"), Decimal("0.00"), 0)
    by_week = {row.period.isoformat(): row[1 : len(COLUMNS)] for row in totals}
    rows = [(week, *by_week.get(week, none)) for week in sorted(weeks)]
    return pd.DataFrame(rows, columns=COLUMNS)


def find_mismatches(frame: DataFrame, days: Iterable[tuple[date, int, Decimal]]) -> list[str]:
    """The weeks of `frame` with other sums than those of their days: trips, and their amounts.

    Where no amount is known, the sum of the days is 0.
    """
    trips: dict[str, int] = defaultdict(int)
    amounts: dict[str, Decimal] = defaultdict(Decimal)
    for day, number, amount in days:
        week = sunday_of(day).isoformat()
        trips[week] += int(number)
        amounts[week] += amount
    return [
        f"{row.period} has {row.num_trips:,} trips for {row.total_amount or 0:,} dollars, its days "
        f"have {trips[row.period]:,} for {amounts[row.period]:,}"
        for row in frame.itertuples()
        if (row.num_trips, row.total_amount or 0) != (trips[row.period], amounts[row.period])
    ]


def find_missing_amounts(totals: Iterable[WeekTotals]) -> list[str]:
    """The weeks with trips that have no total amount or no distance, and how many those are."""
    return [
        f"{row.period}: {number:,} of {row.num_trips:,} trips have no {column}"
        for row in totals
        for column, number in (
            ("total_amount", row.num_without_amount),
            ("trip_distance", row.num_without_distance),
        )
        if number
    ]


def months_of(week: str) -> tuple[str, ...]:
    """The months, one or two, that a week's days are in: `2023-03-01` for each."""
    sunday = date.fromisoformat(week)
    saturday = sunday + timedelta(days=6)
    return tuple(sorted({day.replace(day=1).isoformat() for day in (sunday, saturday)}))


def plan_weeks(
    weeks: Iterable[str],
    weeks_made: Iterable[str],
    months_loaded: Iterable[str],
    first_month: str,
) -> WeekPlan:
    """Which of `weeks` are missing and have all of their months, and what the others wait for.

    No week waits for a month before `first_month`: it will not be loaded.
    """
    so_far, loaded = set(weeks), set(months_loaded)
    ready = []
    waiting: dict[str, list[str]] = defaultdict(list)
    for week in sorted(so_far - set(weeks_made)):
        absent = [m for m in months_of(week) if m >= first_month and m not in loaded]
        if not absent:
            ready.append(week)
        for month in absent:
            waiting[month].append(week)
    by_month = {month: tuple(waiting[month]) for month in sorted(waiting)}
    return WeekPlan(len(so_far), tuple(ready), by_month)


def _waiting(weeks: Sequence[str]) -> str:
    if len(weeks) == 1:
        return f"week {weeks[0]} waits"
    return f"{len(weeks)} weeks from {weeks[0]} on wait"
