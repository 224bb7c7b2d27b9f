"""A report's numbers as pictures of the pages: heat maps, bars for one day, and thumbnails."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from math import ceil

from adhoc_reports.lib.pickups import HOURS, WEEKDAYS, Pickups, number_format

LEVELS = 7
"""Colours above that of zero."""
NOT_COUNTED = "-"

Numbers = Sequence[Sequence[float | None]]
"""24 hours, 7 weekdays each, from Sunday; None for a weekday of which no day was counted."""


@dataclass(frozen=True)
class Row:
    """A weekday of a heat map: its name, how many days were counted, and its 24 cells.

    cells: level of colour, and the sentence that a reader gets for the cell
    """

    weekday: str
    days: int
    cells: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class View:
    """One of the ways to show a report: averages, or totals.

    key:    averages or totals
    name:   what the numbers are
    rows:   of the heat map: the weekdays that were counted
    table:  24 hours, each with the numbers of these weekdays as text
    legend: each level that occurs, with its smallest and largest number as text
    """

    key: str
    name: str
    rows: tuple[Row, ...]
    table: tuple[tuple[str, ...], ...]
    legend: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Bar:
    """An hour of one day: its height in percent of the largest, and a sentence."""

    height: float
    sentence: str
    is_busiest: bool


def views(pickups: Pickups) -> list[View]:
    """Averages and totals; one view where these are the same, none without a day."""
    averages = pickups.averages
    if not pickups.counted:
        return []
    if max(pickups.weekdays) == 1:
        return [_view("averages", "Pickups per hour", "", pickups, averages)]
    totals = [
        [number if days else None for number, days in zip(hour, pickups.weekdays, strict=True)]
        for hour in pickups.by_hour
    ]
    return [
        _view("averages", "Average per hour of each weekday", " on average", pickups, averages),
        _view("totals", "Total of all days", " in total", pickups, totals),
    ]


def bars(pickups: Pickups) -> list[Bar]:
    """A bar per hour where one weekday was counted; none elsewhere."""
    if len(pickups.counted) != 1:
        return []
    (weekday,) = pickups.counted
    numbers = [hour[weekday] or 0 for hour in pickups.averages]
    most = max(numbers) or 1
    says = _sentences(numbers, "")
    busiest = pickups.busiest[1] if pickups.busiest else None
    return [
        Bar(round(100 * number / most, 1), says(weekday, hour, number), hour == busiest)
        for hour, number in enumerate(numbers)
    ]


def levels(by_hour: Numbers) -> str:
    """A character for each cell, weekday by weekday from Sunday, 24 hours each.

    A digit from 0, no pickup, to LEVELS, or NOT_COUNTED.
    """
    known = [number for number in chain.from_iterable(by_hour) if number is not None]
    most = max(known, default=0)
    return "".join(
        _level(by_hour[hour][weekday], most) for weekday in range(len(WEEKDAYS)) for hour in HOURS
    )


def thumbnail(cells: str) -> list[tuple[str, str]]:
    """The small picture: for each level its path in a drawing of 24 by 7 units.

    One weekday is drawn as bars.
    """
    rows = [cells[start : start + len(HOURS)] for start in range(0, len(cells), len(HOURS))]
    counted = [row for row in rows if row[0] != NOT_COUNTED]
    if len(counted) == 1:
        heights = [(hour, int(level)) for hour, level in enumerate(counted[0])]
        return [("5", "".join(f"M{hour} {7 - high}h.9v{high}h-.9z" for hour, high in heights))]
    paths: dict[str, list[str]] = defaultdict(list)
    for weekday, row in enumerate(rows):
        for hour, level in enumerate(row):
            if level != NOT_COUNTED:
                paths[level].append(f"M{hour} {weekday}h1v1h-1z")
    return [(level, "".join(path)) for level, path in sorted(paths.items())]


def _view(key: str, name: str, ending: str, pickups: Pickups, numbers: Numbers) -> View:
    shown = [[hour[weekday] or 0 for weekday in pickups.counted] for hour in numbers]
    as_text = number_format(chain.from_iterable(shown))
    says = _sentences(chain.from_iterable(shown), ending)
    colours = levels(numbers)
    rows = tuple(
        Row(
            WEEKDAYS[day],
            pickups.weekdays[day],
            tuple(
                (colours[day * len(HOURS) + hour], says(day, hour, numbers[hour][day] or 0))
                for hour in HOURS
            ),
        )
        for day in pickups.counted
    )
    table = tuple(tuple(format(number, as_text) for number in hour) for hour in shown)
    return View(key, name, rows, table, _legend(shown, as_text))


def _sentences(numbers: Iterable[float], ending: str) -> Callable[[int, int, float], str]:
    as_text = number_format(numbers)

    def sentence(weekday: int, hour: int, number: float) -> str:
        return f"{WEEKDAYS[weekday]}, {hour} to {hour + 1} h: {format(number, as_text)}{ending}"

    return sentence


def _legend(shown: Sequence[Sequence[float]], as_text: str) -> tuple[tuple[str, str, str], ...]:
    most = max(chain.from_iterable(shown))
    found: dict[str, list[float]] = defaultdict(list)
    for number in chain.from_iterable(shown):
        found[_level(number, most)].append(number)
    return tuple(
        (level, format(min(each), as_text), format(max(each), as_text))
        for level, each in sorted(found.items())
    )


def _level(number: float | None, most: float) -> str:
    if number is None:
        return NOT_COUNTED
    return str(min(LEVELS, ceil(number * LEVELS / most)) if most else 0)
