"""Compare: two areas or two periods by hour of day, with the difference."""

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from adhoc_reports.lib import canvas
from adhoc_reports.lib.kinds.kind import (
    Facts,
    Kind,
    Rows,
    event,
    heading_of,
    measure_of,
    measured,
    measured_trips,
    phrase_of,
    value_of,
    with_unit,
)
from adhoc_reports.lib.measures import number_format
from adhoc_reports.lib.pickups import HOURS, count_weekdays
from adhoc_reports.lib.words import many

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from adhoc_reports.lib.outcome import Report, Table
    from adhoc_reports.lib.request import Question
    from taxi_shared import engines
    from taxi_shared.lake import Snapshot

_GAP = 0.05


class HourOfDaySums(NamedTuple):
    """A row of `measured_trips.sql` by hour of day."""

    hour_of_day: int
    num_trips: int
    num_used: int
    sum_numerator: Decimal
    sum_denominator: Decimal


class Compare(Kind):
    """The averages of each hour of day of two areas or periods, and their difference."""

    name = "compare"
    title = "Compare two areas or periods"
    description = "Two lines by hour of day, and how much the second is above the first."
    symbol = "M4 6 9 3 15 4 20 1M4 4 9 5 15 2 20 5"
    fields = ("other_borough", "other_zone", "other_start_date", "other_end_date")

    def heading(self, question: "Question") -> str:
        """Both areas, or the one of both periods."""
        first, second = question.parts
        if first.area == second.area:
            return measured(question, f"{event(question)}s in {first.area}, two periods")
        return measured(question, f"{event(question)}s in {first.area} and {second.area}")

    def ask(self, lake: "Snapshot", question: "Question") -> "list[engines.Question[Any]]":
        """The sums of every hour of day, of each part."""
        keys = {"hour_of_day": "trips.pickup_hour"}
        return [measured_trips(lake, part, HourOfDaySums, keys) for part in question.parts]

    def content(
        self, question: "Question", answers: Sequence[Rows], facts: Facts
    ) -> dict[str, Any]:
        """A row for each part and hour."""
        from adhoc_reports.lib.outcome import Table

        rows = []
        for part, found in zip(question.parts, answers, strict=True):
            days = sum(count_weekdays(part.dates, facts.months))
            by_hour = {row.hour_of_day: row for row in found}
            first, last = part.first_and_last
            for hour in HOURS:
                sums = [by_hour[hour]] if hour in by_hour else []
                value = value_of(question, sums, days)
                trips = sum(row.num_trips for row in sums)
                rows.append((part.area, first, last, hour, days, trips, value))
        columns = ("area", "first_day", "last_day", "hour_of_day", "days", "trips")
        measured_as = "trips_per_hour" if measure_of(question).is_count else question.measure
        return {
            "table": Table(
                columns=(*columns, measured_as),
                headings=(
                    *("Area", "First day", "Last day", "Hour", "Days counted", "Trips"),
                    heading_of(question, "Trips per hour"),
                ),
                rows=tuple(rows),
            ),
            "totals": tuple(
                value_of(question, found, sum(count_weekdays(part.dates, facts.months)))
                for part, found in zip(question.parts, answers, strict=True)
            ),
        }

    def part_names(self, question: "Question") -> tuple[str, ...]:
        """What differs between the two parts: their areas, or else their days."""
        first, second = question.parts
        if first.area == second.area:
            return first.days, second.days
        if first.dates == second.dates:
            return first.area, second.area
        return f"{first.area}, {first.days}", f"{second.area}, {second.days}"

    def page_table(self, question: "Question", report: "Report") -> "Table":
        """A row for each hour: both values and the difference."""
        from adhoc_reports.lib.outcome import Table

        first, second = _values(report)
        return Table(
            columns=("hour_of_day", "first", "second", "difference", "difference_percent"),
            headings=("Hour", *self.part_names(question), "Difference", "Difference, %"),
            rows=tuple(
                (hour, a, b, _difference(a, b), _percent(a, b))
                for hour, a, b in zip(HOURS, first, second, strict=True)
            ),
        )

    def shown(self, question: "Question", report: "Report") -> str:
        """What the lines are."""
        what = phrase_of(question, "trips per hour, average of all days")
        return f"{what}, by hour of day; {many(report.trips, 'trip')}"

    def finding(self, question: "Question", report: "Report") -> str:
        """The values of the two, and the difference."""
        if not report.totals or None in report.totals or not report.trips:
            return ""
        a, b = report.totals
        as_text = number_format(report.totals)
        unit = "trips per day"
        numbers = [with_unit(question, format(number, as_text), unit) for number in (a, b)]
        percent = _percent(a, b)
        change = "" if percent is None else f" ({percent:+.1f}%)"
        first, second = self.part_names(question)
        return f"{first}: {numbers[0]}. {second}: {numbers[1]}{change}"

    def draw(self, figure: "Figure", question: "Question", report: "Report") -> "Axes":
        """Two lines, and below them bars of the difference."""
        left, bottom, width, height = canvas.BOX
        lower = height * 0.28
        axes = figure.add_axes((left, bottom + lower + _GAP, width, height - lower - _GAP))
        values = _values(report)
        for numbers, name, colour, mark in zip(
            values, self.part_names(question), canvas.LINES, canvas.MARKS, strict=True
        ):
            shown = [float("nan") if number is None else number for number in numbers]
            axes.plot(list(HOURS), shown, color=colour, marker=mark, markersize=5, label=name)
        axes.set_ylim(
            0, max((n for each in values for n in each if n is not None), default=1) * 1.1 or 1
        )
        canvas.style_axes(axes, "", heading_of(question, "Trips per hour"))
        axes.legend(loc="upper left", frameon=False, fontsize=9.5, labelcolor=canvas.INK)
        below = figure.add_axes((left, bottom, width, lower))
        pairs = zip(*values, strict=True)
        differences = [_difference(a, b) or 0.0 for a, b in pairs]
        colours = [canvas.LINES[1] if each > 0 else canvas.LINES[0] for each in differences]
        below.bar(list(HOURS), differences, width=0.7, color=colours)
        below.axhline(0, color=canvas.GREY, linewidth=0.9)
        canvas.style_axes(below, "Hour of the pickup, in New York", "Difference")
        for each in (axes, below):
            each.set_xlim(-0.6, 23.6)
            each.set_xticks(list(HOURS))
        axes.set_xticklabels([])
        return axes

    def count_drawn(self, figure: "Figure", report: "Report") -> int:
        """All trips where both lines have each hour."""
        lines: Any = figure.axes[0].lines
        drawn = sum(len(line.get_xdata()) for line in lines)
        return report.trips if drawn == len(report.rows) else 0


def _values(report: "Report") -> tuple[list[float | None], list[float | None]]:
    values = [row[-1] for row in report.rows]
    return values[: len(HOURS)], values[len(HOURS) :]


def _difference(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else second - first


def _percent(first: float | None, second: float | None) -> float | None:
    return None if second is None or not first else 100 * (second - first) / first
