"""Weeks of trips: their figures, and which of them can be materialized now."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from taxi_shared.engines import Hundredths
from taxi_shared.io_managers import DataFrame
from taxi_shared.partitions import sunday_of

# The version of each month's file, and the weeks of its trips. A pair read from JSON is a list.
WeeksByMonth = Mapping[str, Sequence[Any]]

COLUMNS = ("period", "num_trips", "total_amount", "trip_distance", "passenger_count")


class WeekTotals(NamedTuple):
    """A row of `trips_by_week.sql`; amounts in US dollars and miles, None where none is known."""

    period: date
    num_trips: int
    total_amount: Hundredths | None
    trip_distance: Hundredths | None
    passenger_count: int
    num_without_amount: int
    num_without_distance: int


@dataclass(frozen=True)
class WeekPlan:
    """Weeks to materialize now, and those that wait, by the month that they wait for.

    num_weeks: all weeks so far
    ready:     missing weeks whose months are all loaded
    waiting:   other missing weeks, by month (`2023-03-01`)
    """

    num_weeks: int
    ready: tuple[str, ...]
    waiting: dict[str, tuple[str, ...]]

    @property
    def reason_to_wait(self) -> str:
        """Which weeks wait for which month, or that no week is missing."""
        if not self.waiting:
            return f"All {self.num_weeks} weeks are up to date."
        return "; ".join(
            f"{month[:7]} is not loaded: {_describe_waiting(weeks)}"
            for month, weeks in self.waiting.items()
        )


def fill_empty_weeks(totals: Iterable[WeekTotals], weeks: Sequence[str]) -> DataFrame:
    """A row per week, sorted, with the columns COLUMNS; a week without trips has zeros.

    Sums of money and miles are `Decimal` with two places, or None.
    """
    import pandas as pd

    no_trips = (0, Decimal("0.00"), Decimal("0.00"), 0)
    by_week = {row.period.isoformat(): row[1 : len(COLUMNS)] for row in totals}
    rows = [(week, *by_week.get(week, no_trips)) for week in sorted(weeks)]
    return pd.DataFrame(rows, columns=COLUMNS)


def find_mismatches(frame: DataFrame, days: Iterable[tuple[date, int, Decimal]]) -> list[str]:
    """The weeks whose trips or total amount differ from the sums of their days, as sentences.

    frame: a row per week; days: day, trips, and total amount, which is 0 where no amount is known.
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
    """The weeks that have trips without total amount or distance, as sentences."""
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
    """The one or two months (`2023-03-01`) of a week's days."""
    sunday = date.fromisoformat(week)
    saturday = sunday + timedelta(days=6)
    return tuple(sorted({day.replace(day=1).isoformat() for day in (sunday, saturday)}))


def missing_months(week: str, months_loaded: Collection[str], first_month: str) -> list[str]:
    """The months of a week that are not loaded, without those before the first month."""
    return [
        month for month in months_of(week) if month >= first_month and month not in months_loaded
    ]


def plan_weeks(
    weeks: Set[str], materialized: Set[str], months_loaded: Set[str], first_month: str
) -> WeekPlan:
    """Which missing weeks can be materialized now, and which months the others wait for."""
    ready = []
    waiting: dict[str, list[str]] = defaultdict(list)
    for week in sorted(weeks - materialized):
        missing = missing_months(week, months_loaded, first_month)
        if not missing:
            ready.append(week)
        for month in missing:
            waiting[month].append(week)
    by_month = {month: tuple(waiting[month]) for month in sorted(waiting)}
    return WeekPlan(len(weeks), tuple(ready), by_month)


def changed_months(before: WeeksByMonth, versions: Mapping[str, str]) -> set[str]:
    """The months whose file was added or replaced since `before`; `versions` are the current."""
    return {month for month, version in versions.items() if before.get(month, ("",))[0] != version}


def weeks_of_months(months: Iterable[str], *states: WeeksByMonth) -> set[str]:
    """The weeks of the trips in the files of these months, in any of several states."""
    return {
        week for month in months for state in states if month in state for week in state[month][1]
    }


def _describe_waiting(weeks: Sequence[str]) -> str:
    if len(weeks) == 1:
        return f"week {weeks[0]} waits"
    return f"{len(weeks)} weeks from {weeks[0]} on wait"
