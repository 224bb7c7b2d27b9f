"""Trend: a measure by day, week or month."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from decimal import Decimal
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from adhoc_reports.lib import canvas
from adhoc_reports.lib.kinds.kind import (
    Facts,
    Kind,
    Rows,
    heading_of,
    measured_trips,
    phrase_of,
    value_of,
    with_unit,
)
from adhoc_reports.lib.measures import number_format
from adhoc_reports.lib.words import in_words, many, month_in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from adhoc_reports.lib.outcome import Report
    from adhoc_reports.lib.request import Question
    from taxi_shared import engines
    from taxi_shared.lake import Snapshot

INTERVALS = ("day", "week", "month")
"""A week begins on Sunday, like the weeks of the lake."""

# More are a line: bars would be thinner than a pixel's width apart.
MOST_BARS, MOST_LABELS, FEW_BARS = 62, 31, 8
# Periods of up to so many days have marks every month, every quarter, and every year.
MARKS = ((400, 1), (1_200, 3), (10**9, 12))
SHORT_DAYS = 93


class DaySums(NamedTuple):
    """A row of `measured_trips.sql` by day."""

    pickup_date: date
    num_trips: int
    num_used: int
    sum_numerator: Decimal
    sum_denominator: Decimal


class Trend(Kind):
    """A value per day, week or month; months that are not loaded are gaps."""

    name = "trend"
    title = "Trend by day, week or month"
    description = "How a measure changes over time. Trips are per day, so that weeks compare."
    symbol = "M4 6 7 4 10 5 13 2 16 3 20 1"
    fields = ("interval",)
    shows_gaps = True

    def ask(self, lake: "Snapshot", question: "Question") -> "list[engines.Question[Any]]":
        """The sums of every day."""
        return [measured_trips(lake, question, DaySums, {"pickup_date": "trips.pickup_date"})]

    def content(
        self, question: "Question", answers: Sequence[Rows], facts: Facts
    ) -> dict[str, Any]:
        """A row per interval between the first and the last loaded month of the period."""
        from adhoc_reports.lib.outcome import Table

        by_day = {row.pickup_date: row for row in answers[0]}
        loaded = set(facts.months)
        rows = []
        for first, after in intervals(question, facts.months):
            days = [d for d in _days(first, after) if d.replace(day=1) in loaded]
            sums = [by_day[day] for day in days if day in by_day]
            value = value_of(question, sums, len(days)) if days else None
            trips = sum(row.num_trips for row in sums) if days else None
            rows.append((first.isoformat(), len(days), trips, value))
        interval = question.interval or INTERVALS[0]
        return {
            "table": Table(
                columns=(interval, "days", "trips", _column(question)),
                headings=(
                    interval.capitalize() if interval != "week" else "Week from",
                    "Days counted",
                    "Trips",
                    heading_of(question, "Trips per day"),
                ),
                rows=tuple(rows),
            )
        }

    def shown(self, question: "Question", report: "Report") -> str:
        """`Trips per day of each week, 1,234 trips in 15 days`."""
        interval = question.interval or INTERVALS[0]
        days = sum(row[1] for row in report.rows)
        what = phrase_of(question, "trips per day")
        of_each = "" if interval == "day" and what == "trips per day" else f" of each {interval}"
        return f"{what}{of_each}, {many(report.trips, 'trip')} in {many(days, 'day')}"

    def finding(self, question: "Question", report: "Report") -> str:
        """The highest and the lowest interval."""
        known = [row for row in report.rows if row[3] is not None and row[2]]
        if not known:
            return ""
        as_text = number_format(row[3] for row in known)
        interval = question.interval or INTERVALS[0]

        def describe(row: Sequence[Any]) -> str:
            number = with_unit(question, format(row[3], as_text), "trips per day")
            return f"{_in_words(date.fromisoformat(row[0]), interval)}, {number}"

        most, least = max(known, key=lambda row: row[3]), min(known, key=lambda row: row[3])
        if len(known) == 1:
            return describe(most)
        return f"Highest: {describe(most)}. Lowest: {describe(least)}"

    def draw(self, figure: "Figure", question: "Question", report: "Report") -> "Axes":
        """Bars, or a line with a gap where months are missing; marks at months or years."""
        dates: Any = import_module("matplotlib.dates")

        axes = figure.add_axes(canvas.BOX)
        rows = report.rows
        firsts = [date.fromisoformat(row[0]) for row in rows]
        values = [float("nan") if row[3] is None else row[3] for row in rows]
        if len(rows) <= MOST_BARS:
            ends = [*firsts[1:], _next(firsts[-1], question)] if rows else []
            widths = [
                (after - first).days * 0.82 for first, after in zip(firsts, ends, strict=True)
            ]
            places = [dates.date2num(f) + w / 1.64 for f, w in zip(firsts, widths, strict=True)]
            bars = axes.bar(places, values, width=widths, color=canvas.BAR)
            if len(rows) <= MOST_LABELS:
                as_text = number_format(row[3] for row in rows)
                labels = ["" if row[3] is None else format(row[3], as_text) for row in rows]
                axes.bar_label(bars, labels, padding=2, fontsize=8, color=canvas.INK)
        else:
            axes.plot(dates.date2num(firsts), values, color=canvas.LINES[0], linewidth=1.6)
        for row, first in zip(rows, firsts, strict=True):
            if row[1] == 0:
                axes.axvspan(
                    dates.date2num(first),
                    dates.date2num(_next(first, question)),
                    color=canvas.MISSING,
                    lw=0,
                )
        axes.set_ylim(0, max((row[3] for row in rows if row[3]), default=1) * 1.1)
        canvas.style_axes(
            axes, "Day of the pickup, in New York", heading_of(question, "Trips per day")
        )
        if len(rows) <= FEW_BARS:
            axes.set_xticks(places, [_short(first, question) for first in firsts])
            room = 1.5 * max(widths, default=1)
            axes.set_xlim(min(places, default=0) - room, max(places, default=0) + room)
        else:
            _mark_dates(axes, firsts[0], firsts[-1])
        return axes


def intervals(question: "Question", months: Sequence[date]) -> Iterator[tuple[date, date]]:
    """First day, and day after the last, of each interval of a question's period.

    The first and the last may be cut short by the period, which is cut to the loaded months.
    """
    start, end = question.dates
    touched = [m for m in months if m < end and _next_month(m) > start]
    if not touched:
        return
    start, end = max(start, touched[0]), min(end, _next_month(touched[-1]))
    begins = [start]
    while (begin := _begin_of_next(begins[-1], question.interval or INTERVALS[0])) < end:
        begins.append(begin)
    yield from pairwise([*begins, end])


def _begin_of_next(day: date, interval: str) -> date:
    if interval == "month":
        return _next_month(day)
    if interval == "week":
        return day + timedelta(days=7 - day.isoweekday() % 7)
    return day + timedelta(days=1)


def _next(day: date, question: "Question") -> date:
    return min(_begin_of_next(day, question.interval or INTERVALS[0]), question.dates[1])


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=31)).replace(day=1)


def _days(first: date, after: date) -> Iterator[date]:
    return (first + timedelta(days=n) for n in range((after - first).days))


def _column(question: "Question") -> str:
    return "trips_per_day" if question.measure == "trips" else question.measure


def _in_words(first: date, interval: str) -> str:
    if interval == "month":
        return month_in_words(first)
    return f"week from {in_words(first)}" if interval == "week" else in_words(first)


def _short(first: date, question: "Question") -> str:
    return f"{first:%b %Y}" if question.interval == "month" else f"{first.day} {first:%b %Y}"


def _mark_dates(axes: "Axes", first: date, last: date) -> None:
    """Marks at the same dates of every year: months, or quarters, or years of a long period."""
    dates: Any = import_module("matplotlib.dates")

    days = (last - first).days
    if days <= SHORT_DAYS:
        locator = dates.AutoDateLocator(minticks=2, maxticks=10)
        axes.xaxis.set_major_formatter(dates.DateFormatter("%-d %b %Y"))
    else:
        every = next(months for most, months in MARKS if days <= most)
        locator = dates.MonthLocator(range(1, 13, every))
        axes.xaxis.set_major_formatter(
            dates.DateFormatter("%Y" if every == MARKS[-1][1] else "%b %Y")
        )
    axes.xaxis.set_major_locator(locator)
    axes.grid(axis="x", color=canvas.GRID, linewidth=0.9)
