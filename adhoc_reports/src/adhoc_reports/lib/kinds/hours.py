"""By hour and weekday: a heat map of averages, or the bars of one day."""

from collections.abc import Sequence
from decimal import Decimal
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from adhoc_reports.lib import canvas
from adhoc_reports.lib.kinds.kind import (
    Facts,
    Kind,
    Rows,
    heading_of,
    measure_of,
    measured_trips,
    value_of,
    with_unit,
)
from adhoc_reports.lib.measures import MEASURES, number_format
from adhoc_reports.lib.pickups import (
    HOURS,
    WEEKDAYS,
    Pickups,
    by_hour_and_weekday,
    count_weekdays,
)
from adhoc_reports.lib.services import SERVICES
from adhoc_reports.lib.words import many

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import Collection
    from matplotlib.figure import Figure

    from adhoc_reports.lib.outcome import Report, Table
    from adhoc_reports.lib.request import Question
    from taxi_shared import engines
    from taxi_shared.lake import Snapshot

# The size of a cell's number, by the largest of them.
CELL_POINTS, SMALLEST_CELL_POINTS = ((1_000, 8.5), (10_000, 7.2)), 6.0
DARK = 0.65
"""From which part of the largest number on a cell is too dark for a dark text."""


class HourSums(NamedTuple):
    """A row of `measured_trips.sql` by hour of day and day of week (0 Sunday)."""

    hour_of_day: int
    day_of_week: int
    num_trips: int
    num_used: int
    sum_numerator: Decimal
    sum_denominator: Decimal


class Hours(Kind):
    """The average of each hour of each weekday."""

    name = "hours"
    title = "Hours and weekdays"
    description = "When it is busy: the average of each hour of each weekday. One day is bars."

    def ask(self, lake: "Snapshot", question: "Question") -> "list[engines.Question[Any]]":
        """The sums of every hour and weekday."""
        if _is_plain(question):
            return [by_hour_and_weekday(lake, question)]
        keys = {"hour_of_day": "trips.pickup_hour", "day_of_week": "trips.pickup_weekday"}
        return [measured_trips(lake, question, HourSums, keys)]

    def content(
        self, question: "Question", answers: Sequence[Rows], facts: Facts
    ) -> dict[str, Any]:
        """Trips by hour and weekday, and values where something else is measured."""
        (rows,) = answers
        weekdays = count_weekdays(question.dates, facts.months)
        pickups = Pickups.of((row[:3] for row in rows), weekdays)
        found: dict[str, Any] = {"by_hour": pickups.by_hour, "weekdays": weekdays}
        if not measure_of(question).is_count:
            cells = {(row.hour_of_day, row.day_of_week): value_of(question, [row]) for row in rows}
            found["values"] = tuple(
                tuple(cells.get((hour, day)) for day in range(len(WEEKDAYS))) for hour in HOURS
            )
        return found

    def table(self, question: "Question", report: "Report") -> "Table":
        """A row for each weekday that was counted and each hour."""
        from adhoc_reports.lib.outcome import Table

        pickups = report.pickups
        is_count = measure_of(question).is_count
        return Table(
            columns=(
                *("weekday", "hour_of_day", "days", "trips"),
                "trips_per_hour" if is_count else question.measure,
            ),
            headings=(
                *("Weekday", "Hour", "Days counted", "Trips"),
                heading_of(question, "Trips per hour"),
            ),
            rows=tuple(
                (
                    WEEKDAYS[day],
                    hour,
                    pickups.weekdays[day],
                    pickups.by_hour[hour][day],
                    pickups.averages[hour][day],
                )
                for day in pickups.counted
                for hour in HOURS
            ),
        )

    def shown(self, question: "Question", report: "Report") -> str:
        """What the colours or bars are, and of how many trips and days."""
        trips, days = report.pickups.total, sum(report.weekdays)
        if not days:
            return "no data is loaded for these days"
        numbers = f"{many(trips, 'trip')} in {many(days, 'day')}"
        measure = measure_of(question)
        if not measure.is_count:
            of_each = "" if days == 1 else " of each weekday"
            return f"{measure.title.lower()} by hour{of_each}, in {measure.unit}, {numbers}"
        what = _events(question)
        if days == 1:
            return f"{what} per hour, {numbers}"
        if max(report.weekdays) == 1:
            return f"{what} per hour of each day, {numbers}"
        return f"average {what} per hour of each weekday, {numbers}"

    def finding(self, question: "Question", report: "Report") -> str:
        """`Busiest: Tuesday, 18 to 19 h, …` with the average; empty without trips."""
        pickups = report.pickups
        if not pickups.busiest:
            return ""
        weekday, hour, average = pickups.busiest
        number = format(average, number_format(chain.from_iterable(pickups.averages)))
        place = f"{WEEKDAYS[weekday]}, {hour} to {hour + 1} h"
        if not measure_of(question).is_count:
            return f"Highest: {place}, {with_unit(question, number)}"
        what = f"{number} {_events(question).removesuffix('s' if number == '1' else '')}"
        on_average = " on average" if max(pickups.weekdays) > 1 else ""
        return f"Busiest: {place}, {what}{on_average}"

    def draw(self, figure: "Figure", question: "Question", report: "Report") -> "Axes":
        """A heat map, or bars where one day was counted."""
        pickups = report.pickups
        if len(pickups.counted) == 1:
            axes = figure.add_axes(canvas.BOX)
            _draw_bars(axes, pickups, question)
        else:
            height = canvas.TOP - canvas.BOTTOM
            axes = figure.add_axes((canvas.LEFT, canvas.BOTTOM, canvas.RIGHT - canvas.LEFT, height))
            _draw_heatmap(axes, pickups, question)
        axes.set_xlabel(
            "Hour of the pickup, in New York", color=canvas.GREY, fontsize=11, labelpad=6
        )
        axes.set_xticks(list(HOURS))
        axes.tick_params(colors=canvas.GREY, labelsize=10, length=0)
        if not pickups.counted:
            axes.set_axis_off()
        return axes

    def count_drawn(self, figure: "Figure", report: "Report") -> int:
        """The trips of a chart: the averages in its cells or bars times the days of each."""
        axes, pickups = figure.axes[0], report.pickups
        if axes.containers:
            averages = [bar.get_height() for bar in axes.containers[0]]
        else:
            averages = [average for cells in axes.collections for average in _values(cells)]
        if pickups.values is not None:
            # Values stand for no number of trips: each cell or none is drawn.
            return report.trips if len(averages) == len(HOURS) * len(pickups.counted) else 0
        days = [pickups.weekdays[weekday] for weekday in pickups.counted for _ in HOURS]
        return sum(round(average * number) for average, number in zip(averages, days, strict=True))


def _is_plain(question: "Question") -> bool:
    """Whether a question is that of the engines' shared query: pickups of yellow taxis."""
    first = next(iter(SERVICES)), next(iter(MEASURES)), "pickup"
    return (question.service, question.measure, question.side) == first


def _events(question: "Question") -> str:
    return "pickups" if question.side == "pickup" else "drop-offs"


def _values(cells: "Collection") -> list[float]:
    values = cells.get_array()
    return [] if values is None else values.ravel().tolist()


def _draw_heatmap(axes: "Axes", pickups: Pickups, question: "Question") -> None:
    """A row for each weekday that was counted, from Sunday, and the average in each cell."""
    from matplotlib.colors import LinearSegmentedColormap

    weekdays = pickups.counted
    axes.set_xlim(-0.5, len(HOURS) - 0.5)
    axes.set_yticks(
        range(len(weekdays)), [f"{WEEKDAYS[day]} ×{pickups.weekdays[day]:,}" for day in weekdays]
    )
    axes.spines[:].set_visible(False)
    if not weekdays:
        return
    axes.set_ylim(len(weekdays) - 0.5, -0.5)
    averages = [[hour[weekday] for hour in pickups.averages] for weekday in weekdays]
    most = max(number or 0 for row in averages for number in row)
    cells = axes.pcolormesh(
        list(HOURS),
        range(len(weekdays)),
        [[number or 0.0 for number in row] for row in averages],
        cmap=LinearSegmentedColormap.from_list("blues", canvas.BLUES),
        vmin=0,
        vmax=most or 1,
        edgecolors="white",
        linewidth=2,
    )
    if not pickups.busiest:
        return
    as_text = number_format(chain.from_iterable(averages))
    points = next((size for below, size in CELL_POINTS if most < below), SMALLEST_CELL_POINTS)
    for row, numbers in enumerate(averages):
        for hour, number in enumerate(numbers):
            axes.text(
                hour,
                row,
                "" if number is None else format(number, as_text),
                ha="center",
                va="center",
                fontsize=points,
                color="white" if (number or 0) > DARK * most else canvas.INK,
            )
    weekday, hour, _ = pickups.busiest
    _outline(axes, hour, weekdays.index(weekday))
    measure = measure_of(question)
    draw_colour_bar(axes, cells, "per hour" if measure.is_count else measure.unit)


def _outline(axes: "Axes", hour: int, row: int) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle(
            (hour - 0.5, row - 0.5), 1, 1, fill=False, ec=canvas.ACCENT, lw=2.5, clip_on=False
        )
    )


def draw_colour_bar(axes: "Axes", cells: "ScalarMappable", unit: str) -> None:
    """The scale of the colours at the right of the axes."""
    figure = axes.figure
    box = (canvas.RIGHT + 0.012, canvas.BOTTOM, 0.013, canvas.TOP - canvas.BOTTOM)
    bar = figure.colorbar(cells, cax=figure.add_axes(box))
    bar.outline.set_visible(False)
    size = 9.5 if len(unit) < len("US dollars") else 7.5
    bar.ax.set_title(unit, color=canvas.GREY, fontsize=size, loc="left", pad=5)
    bar.ax.tick_params(colors=canvas.GREY, labelsize=9.5, length=0)
    canvas.label_ticks(bar.ax.yaxis, at_most=6)


def _draw_bars(axes: "Axes", pickups: Pickups, question: "Question") -> None:
    """A bar for each hour of the one weekday that was counted."""
    (weekday,) = pickups.counted
    values = [hour[weekday] for hour in pickups.averages]
    averages = [number or 0.0 for number in values]
    busiest = pickups.busiest[1] if pickups.busiest else None
    colours = [canvas.HIGHEST_BAR if hour == busiest else canvas.BAR for hour in HOURS]
    bars = axes.bar(list(HOURS), averages, width=0.82, color=colours)
    if pickups.total:
        as_text = number_format(averages)
        labels = ["" if number is None else format(number, as_text) for number in values]
        axes.bar_label(bars, labels, padding=2, fontsize=8.5, color=canvas.INK)
    axes.set_xlim(-0.6, 23.6)
    axes.set_ylim(0, (max(averages) or 1) * 1.08)
    events = f"{_events(question).capitalize()} per hour"
    canvas.style_axes(axes, "", heading_of(question, events))
