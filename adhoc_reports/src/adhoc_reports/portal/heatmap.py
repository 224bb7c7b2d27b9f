"""A report's numbers as a heat map of weekdays and hours: levels of colour, and a small picture."""

from collections import defaultdict
from collections.abc import Sequence

from adhoc_reports.lib.pickups import HOURS, WEEKDAYS

LEVELS = 7
"""Colours above that of zero."""


def levels(by_hour: Sequence[Sequence[int]]) -> str:
    """A digit for each cell, weekday by weekday from Sunday, 24 hours each: 0 for no pickup."""
    most = max((number for hour in by_hour for number in hour), default=0)
    return "".join(
        str(-(-by_hour[hour][weekday] * LEVELS // most) if most else 0)
        for weekday in range(len(WEEKDAYS))
        for hour in HOURS
    )


def thumbnail(cells: str) -> list[tuple[str, str]]:
    """The small picture: for each level its path in a drawing of 24 by 7 units."""
    paths: dict[str, list[str]] = defaultdict(list)
    for place, level in enumerate(cells):
        weekday, hour = divmod(place, len(HOURS))
        paths[level].append(f"M{hour} {weekday}h1v1h-1z")
    return [(level, "".join(path)) for level, path in sorted(paths.items())]


def legend(by_hour: Sequence[Sequence[int]]) -> list[tuple[int, int, int]]:
    """Each level that may occur with its smallest and largest number."""
    most = max((number for hour in by_hour for number in hour), default=0)
    bounds = [level * most // LEVELS for level in range(LEVELS + 1)]
    steps = zip(range(1, LEVELS + 1), bounds, bounds[1:], strict=False)
    return [(level, low + 1, high) for level, low, high in steps if high > low]


def busiest(by_hour: Sequence[Sequence[int]]) -> tuple[int, int, int] | None:
    """The weekday and hour with most pickups, and how many; None where there are none."""
    number, weekday, hour = max(
        (by_hour[hour][weekday], -weekday, -hour)
        for weekday in range(len(WEEKDAYS))
        for hour in HOURS
    )
    return (-weekday, -hour, number) if number else None
