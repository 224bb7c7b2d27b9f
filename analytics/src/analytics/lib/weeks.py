"""Weeks of trips: their figures, and which of them can be made now."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from analytics.lib.frames import DataFrame
from taxi_shared.partitions import sunday_of

COLUMNS = ("period", "num_trips", "total_amount", "trip_distance", "passenger_count")

WeekTotals = tuple[date, int, Decimal, Decimal, int]


@dataclass(frozen=True)
class Outlook:
    """What there is to do: weeks to make, and months (`2023-03-01`) that others wait for."""

    ready: tuple[str, ...]
    waiting: dict[str, tuple[str, ...]]

    @property
    def reason_to_wait(self) -> str:
        """A sentence for each month that is waited for; or that no week is missing."""
        if not self.waiting:
            return "Every week so far is made."
        return "; ".join(
            f"{month[:7]} is not loaded, {_wait(weeks)} for it"
            for month, weeks in self.waiting.items()
        )


def one_row_a_week(totals: Iterable[WeekTotals], weeks: Sequence[str]) -> DataFrame:
    """The totals of weeks as a frame, sorted; a week without trips has zeros.

    Sums of money and miles stay `Decimal` with two places.
    """
    import pandas as pd

    none = (0, Decimal("0.00"), Decimal("0.00"), 0)
    by_week = {period.isoformat(): rest for period, *rest in totals}
    rows = [(week, *by_week.get(week, none)) for week in sorted(weeks)]
    return pd.DataFrame(rows, columns=COLUMNS)


def unlike_their_days(frame: DataFrame, days: Iterable[tuple[date, int, Decimal]]) -> list[str]:
    """The weeks of `frame` with other sums than those of their days: trips, and their amounts."""
    trips: dict[str, int] = defaultdict(int)
    amounts: dict[str, Decimal] = defaultdict(Decimal)
    for day, number, amount in days:
        week = sunday_of(day).isoformat()
        trips[week] += int(number)
        amounts[week] += amount
    return [
        f"{row.period} has {row.num_trips:,} trips for {row.total_amount:,} dollars, its days have "
        f"{trips[row.period]:,} for {amounts[row.period]:,}"
        for row in frame.itertuples()
        if (row.num_trips, row.total_amount) != (trips[row.period], amounts[row.period])
    ]


def months_of(week: str) -> tuple[str, ...]:
    """The months, one or two, that a week's days are in: `2023-03-01` for each."""
    sunday = date.fromisoformat(week)
    saturday = sunday + timedelta(days=6)
    return tuple(sorted({day.replace(day=1).isoformat() for day in (sunday, saturday)}))


def outlook(
    weeks: Iterable[str],
    weeks_made: Iterable[str],
    months_loaded: Iterable[str],
    first_month: str,
) -> Outlook:
    """Which of `weeks` are missing and have all of their months, and what the others wait for.

    Nobody waits for a month before `first_month`: it will not be loaded.
    """
    loaded = set(months_loaded)
    ready = []
    waiting: dict[str, list[str]] = defaultdict(list)
    for week in sorted(set(weeks) - set(weeks_made)):
        absent = [m for m in months_of(week) if m >= first_month and m not in loaded]
        if not absent:
            ready.append(week)
        for month in absent:
            waiting[month].append(week)
    return Outlook(tuple(ready), {month: tuple(waiting[month]) for month in sorted(waiting)})


def _wait(weeks: Sequence[str]) -> str:
    if len(weeks) == 1:
        return f"week {weeks[0]} waits"
    return f"{len(weeks)} weeks from {weeks[0]} on wait"
