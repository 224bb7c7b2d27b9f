"""Days and numbers for people."""

from datetime import date


def in_words(day: date) -> str:
    """A day for people: 10 January 2023."""
    return f"{day.day} {day:%B %Y}"


def month_in_words(month: date) -> str:
    """A month for people: January 2023."""
    return f"{month:%B %Y}"


def many(number: int, what: str) -> str:
    """`1 trip`, `1,234 trips`."""
    return f"{number:,} {what if number == 1 else f'{what}s'}"
