"""Partitions of several locations: months of TLC's files, weeks that begin on Sunday."""

from datetime import date, timedelta

from dagster import MonthlyPartitionsDefinition, WeeklyPartitionsDefinition

from taxi_shared import settings


def monthly() -> MonthlyPartitionsDefinition:
    """Return the partitions by month; a key is the month's first day, `2023-03-01`."""
    end = settings.load().end_date
    return MonthlyPartitionsDefinition(
        start_date=settings.load().start_date.isoformat(), end_date=end.isoformat() if end else None
    )


def weekly() -> WeeklyPartitionsDefinition:
    """Return the partitions by week, Sunday to Saturday; a key is the Sunday, `2023-03-05`.

    The first week is the one with the first day of the first month.
    """
    end = settings.load().end_date
    return WeeklyPartitionsDefinition(
        start_date=sunday_of(settings.load().start_date).isoformat(),
        end_date=end.isoformat() if end else None,
    )


def sunday_of(day: date) -> date:
    """Return the Sunday that begins the week of `day`.

    Raises OverflowError before 0001-01-07, whose week begins in year 0: use SQL for days that come
    from data, or check their range first.
    """
    return day - timedelta(days=(day.weekday() + 1) % 7)
