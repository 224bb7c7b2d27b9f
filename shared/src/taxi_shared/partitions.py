"""Partitions that locations share: months of TLC's files, weeks that begin on Sunday."""

from datetime import date, timedelta

from dagster import MonthlyPartitionsDefinition, WeeklyPartitionsDefinition

from taxi_shared import settings


def monthly() -> MonthlyPartitionsDefinition:
    """A partition for each month of TLC's files; keys are the month's first day, `2023-03-01`."""
    end = settings.load().end_date
    return MonthlyPartitionsDefinition(
        start_date=settings.load().start_date.isoformat(), end_date=end.isoformat() if end else None
    )


def weekly() -> WeeklyPartitionsDefinition:
    """A partition for each week, Sunday to Saturday; keys are the Sunday, `2023-03-05`.

    The first is the week that holds the first day of the first month.
    """
    end = settings.load().end_date
    return WeeklyPartitionsDefinition(
        start_date=sunday_of(settings.load().start_date).isoformat(),
        end_date=end.isoformat() if end else None,
    )


def sunday_of(day: date) -> date:
    """The Sunday that begins the week of `day`.

    Raises OverflowError before 0001-01-07, whose weeks begin in year 0. Days that come from data
    belong in SQL, or must be bounded by it first.
    """
    return day - timedelta(days=(day.weekday() + 1) % 7)
