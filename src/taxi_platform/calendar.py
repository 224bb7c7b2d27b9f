"""Months and weeks of a range such as FROM=2023-01 TO=2023-03."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import click


@dataclass(frozen=True)
class MonthRange:
    """Whole months; `first` and `last` are their first days."""

    first: date
    last: date

    @classmethod
    def between(cls, first: str, last: str) -> "MonthRange":
        """Parse months such as 2023-01. Raises click.ClickException that says what is accepted."""
        months = cls(_month("FROM", first), _month("TO", last))
        if months.last < months.first:
            raise click.ClickException(f"TO={last} is before FROM={first}")
        return months

    @property
    def end(self) -> date:
        """The day after the last month."""
        return (self.last + timedelta(days=31)).replace(day=1)

    @property
    def months(self) -> list[date]:
        """The first day of each month."""
        days = (self.end - self.first).days
        return [d for d in (self.first + timedelta(n) for n in range(days)) if d.day == 1]

    @property
    def full_weeks(self) -> list[date]:
        """The Sundays of the weeks that are entirely within the months."""
        to_sunday = (6 - self.first.weekday()) % 7
        weeks = ((self.end - self.first).days - to_sunday) // 7
        return [self.first + timedelta(days=to_sunday + 7 * n) for n in range(weeks)]

    def check_within(self, partitions: Sequence[str]) -> None:
        """Raise click.ClickException unless all months are among the partitions."""
        for month in self.months:
            if month.isoformat() not in partitions:
                raise click.ClickException(
                    f"{month:%Y-%m} is not one of the months {partitions[0][:7]} to "
                    f"{partitions[-1][:7]} that TAXI_START_DATE and TAXI_END_DATE allow today"
                )


def _month(name: str, text: str) -> date:
    try:
        return date.fromisoformat(f"{text}-01")
    except ValueError:
        raise click.ClickException(
            f"{name}={text or '(nothing)'} is not a month; expected as in {name}=2023-01"
        ) from None
