"""A report's numbers as the pages draw them: heat maps, bars for one day, and thumbnails."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from adhoc_reports.lib.measures import MEASURES, number_format
from adhoc_reports.lib.pickups import (
    HOURS,
    NOT_COUNTED,
    WEEKDAYS,
    Pickups,
    color_level,
    color_levels,
)
from adhoc_reports.lib.request import SIDES, Question

Numbers = Sequence[Sequence[float | None]]
"""24 hours, 7 weekdays each, from Sunday; None for a weekday without a counted day."""


@dataclass(frozen=True)
class Row:
    """A weekday of a heat map: its name, the number of days counted, and its 24 cells.

    cells: colour level, and the sentence that describes the cell
    """

    weekday: str
    days: int
    cells: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class NumbersView:
    """One view of a report's numbers: averages or totals.

    key:    averages or totals
    name:   for people
    rows:   of the heat map: one per weekday that was counted
    table:  24 hours, each with the numbers of these weekdays as text
    legend: each colour level used, with its smallest and largest number as text
    """

    key: str
    name: str
    rows: tuple[Row, ...]
    table: tuple[tuple[str, ...], ...]
    legend: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Bar:
    """An hour of a single day: its height in percent of the largest, and a description."""

    height: float
    sentence: str
    is_busiest: bool


class _Kind(NamedTuple):
    """What a view shows; `suffix` follows each number in its sentence."""

    key: str
    name: str
    suffix: str


_PER_DAY = _Kind("averages", "Pickups per hour", "")
_AVERAGES = _Kind("averages", "Average per hour of each weekday", " on average")
_TOTALS = _Kind("totals", "Total of all days", " in total")


def views(pickups: Pickups, question: Question) -> list[NumbersView]:
    """Averages and totals; one view where they are equal, none where no day was counted."""
    if not pickups.counted:
        return []
    if pickups.values is not None:
        measure = MEASURES[question.measure]
        kind = _Kind("averages", f"{measure.title}, {measure.unit}", _suffix(pickups, question))
        return [_view(kind, pickups, pickups.averages)]
    if question.side != SIDES[0] and max(pickups.weekdays) == 1:
        return [_view(_PER_DAY._replace(name="Drop-offs per hour"), pickups, pickups.averages)]
    if max(pickups.weekdays) == 1:
        return [_view(_PER_DAY, pickups, pickups.averages)]
    totals = [
        [number if days else None for number, days in zip(hour, pickups.weekdays, strict=True)]
        for hour in pickups.by_hour
    ]
    return [_view(_AVERAGES, pickups, pickups.averages), _view(_TOTALS, pickups, totals)]


def bars(pickups: Pickups, question: Question) -> list[Bar]:
    """One bar per hour of a report on a single weekday; none for other reports."""
    if len(pickups.counted) != 1:
        return []
    (weekday,) = pickups.counted
    numbers = [hour[weekday] for hour in pickups.averages]
    most = max(number or 0 for number in numbers) or 1
    sentence = _sentences(numbers, _suffix(pickups, question))
    busiest = pickups.busiest[1] if pickups.busiest else None
    return [
        Bar(round(100 * (number or 0) / most, 1), sentence(weekday, hour, number), hour == busiest)
        for hour, number in enumerate(numbers)
    ]


def thumbnail(cells: str) -> list[tuple[str, str]]:
    """The SVG path of each colour level, in a drawing of 24 by 7 units; bars for one weekday."""
    rows = [cells[start : start + len(HOURS)] for start in range(0, len(cells), len(HOURS))]
    counted = [row for row in rows if set(row) != {NOT_COUNTED}]
    if len(counted) == 1:
        heights = [
            (hour, int(level.replace(NOT_COUNTED, "0"))) for hour, level in enumerate(counted[0])
        ]
        return [("5", "".join(f"M{hour} {7 - high}h.9v{high}h-.9z" for hour, high in heights))]
    paths: dict[str, list[str]] = defaultdict(list)
    for weekday, row in enumerate(rows):
        for hour, level in enumerate(row):
            if level != NOT_COUNTED:
                paths[level].append(f"M{hour} {weekday}h1v1h-1z")
    return [(level, "".join(path)) for level, path in sorted(paths.items())]


def _view(kind: _Kind, pickups: Pickups, numbers: Numbers) -> NumbersView:
    found = [[hour[weekday] for weekday in pickups.counted] for hour in numbers]
    shown = [[number or 0 for number in hour] for hour in found]
    as_text = number_format(chain.from_iterable(shown))
    sentence = _sentences(chain.from_iterable(shown), kind.suffix)
    colours = color_levels(numbers)
    rows = tuple(
        Row(
            WEEKDAYS[day],
            pickups.weekdays[day],
            tuple(
                (
                    colours[day * len(HOURS) + hour].replace(NOT_COUNTED, "0"),
                    sentence(day, hour, numbers[hour][day]),
                )
                for hour in HOURS
            ),
        )
        for day in pickups.counted
    )
    table = tuple(
        tuple("–" if number is None else format(number, as_text) for number in hour)
        for hour in found
    )
    return NumbersView(kind.key, kind.name, rows, table, _legend(shown, as_text))


def _suffix(pickups: Pickups, question: Question) -> str:
    """The unit of a measure, as it follows a number; empty where trips are counted."""
    unit = MEASURES[question.measure].unit if pickups.values is not None else ""
    return unit if unit in ("", "%") else f" {unit}"


def _sentences(
    numbers: Iterable[float | None], suffix: str
) -> Callable[[int, int, float | None], str]:
    as_text = number_format(numbers)

    def describe(weekday: int, hour: int, number: float | None) -> str:
        value = "no value" if number is None else f"{format(number, as_text)}{suffix}"
        return f"{WEEKDAYS[weekday]}, {hour} to {hour + 1} h: {value}"

    return describe


def _legend(shown: Sequence[Sequence[float]], as_text: str) -> tuple[tuple[str, str, str], ...]:
    most = max(chain.from_iterable(shown))
    found: dict[str, list[float]] = defaultdict(list)
    for number in chain.from_iterable(shown):
        found[color_level(number, most)].append(number)
    return tuple(
        (level, format(min(each), as_text), format(max(each), as_text))
        for level, each in sorted(found.items())
    )
