"""The period that months of data cover, as text."""

from collections.abc import Iterable, Iterator
from datetime import date, timedelta

MAX_NAMED_GAPS = 2  # more would not fit into a line of the map


def describe_period(months: Iterable[str]) -> str:
    """Months (`2023-01-01`) as text: `January to March 2023 without Feb 2023`."""
    found = sorted({date.fromisoformat(month) for month in months})
    if not found:
        return "no months loaded"
    missing = [f"{month:%b %Y}" for month in _months(found[0], found[-1]) if month not in found]
    period = _describe_span(found[0], found[-1])
    if not missing:
        return period
    if len(missing) > MAX_NAMED_GAPS:
        return f"{period}, {len(missing)} months missing"
    return f"{period} without {', '.join(missing)}"


def _months(first: date, last: date) -> Iterator[date]:
    month = first
    while month <= last:
        yield month
        month = (month + timedelta(days=31)).replace(day=1)


def _describe_span(first: date, last: date) -> str:
    if first == last:
        return f"{first:%B %Y}"
    if first.year == last.year:
        return f"{first:%B} to {last:%B %Y}"
    return f"{first:%B %Y} to {last:%B %Y}"
