"""The chart of a request: a heat map of average pickups by weekday and hour, or one day's bars."""

from collections.abc import Sequence
from io import BytesIO
from itertools import chain
from textwrap import wrap
from typing import TYPE_CHECKING

from adhoc_reports.lib.outcome import Report
from adhoc_reports.lib.pickups import (
    HOURS,
    TAXIS,
    WEEKDAYS,
    Pickups,
    busiest_in_words,
    number_format,
)
from adhoc_reports.lib.request import Question
from taxi_shared import provenance

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure

# From light to dark, so that it reads the same in grey and for those who see colours differently.
# The portal's heat map has the same blues.
BLUES = ("#eef1f5", "#d9e6f4", "#b4d0ea", "#88b6dd", "#5b98cd", "#3677b5", "#1d5695", "#0b3568")
INK, GREY, GRID, ACCENT = "#1a2330", "#535f6f", "#e3e7ec", "#c2410c"
BAR, BUSIEST_BAR = "#5b98cd", "#0b3568"
INCHES, DPI, PALETTE = (11.0, 6.2), 120, 128
# In parts of the figure: where texts begin, and the axes.
MARGIN, LEFT, BARS_LEFT, RIGHT, BOTTOM, TOP = 0.025, 0.13, 0.11, 0.92, 0.17, 0.805
TITLE_POINTS, NOTE_CHARACTERS = 17.0, 150
# The size of a cell's number, by the largest of them.
CELL_POINTS, SMALLEST_CELL_POINTS = ((1_000, 8.5), (10_000, 7.2)), 6.0
DARK = 0.65
"""From which part of the largest number on a cell is too dark for a dark text."""


def draw(question: Question, report: Report) -> "Figure":
    """The chart of a report, with its remark and publishers below."""
    # Imported here: the code server and the sensor have no use for matplotlib, and it is slow.
    from matplotlib.figure import Figure

    pickups = report.pickups
    figure = Figure(figsize=INCHES, facecolor="white")
    if len(pickups.counted) == 1:
        axes = figure.add_axes((BARS_LEFT, BOTTOM, 1 - MARGIN - BARS_LEFT, TOP - BOTTOM))
        _draw_bars(axes, pickups)
    else:
        axes = figure.add_axes((LEFT, BOTTOM, RIGHT - LEFT, TOP - BOTTOM))
        _draw_heatmap(axes, pickups)
    axes.set_xlabel("Hour of day", color=GREY, fontsize=11, labelpad=6)
    axes.set_xticks(list(HOURS))
    axes.tick_params(colors=GREY, labelsize=10, length=0)
    if not pickups.counted:
        axes.set_axis_off()
    if pickups.total == 0:
        axes.text(
            0.5,
            0.5,
            "No pickups in this period" if pickups.counted else "No data for this period",
            transform=axes.transAxes,
            ha="center",
            va="center",
            color=GREY,
            fontsize=16,
            parse_math=False,
        )
    _write_title(figure, pickups, question)
    _write_notes(figure, report.remark, report.publishers)
    if provenance.SYNTHETIC in report.publishers:
        _mark_as_sample(figure, axes)
    return figure


def _draw_heatmap(axes: "Axes", pickups: Pickups) -> None:
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
    averages = [[hour[weekday] or 0.0 for hour in pickups.averages] for weekday in weekdays]
    most = max(map(max, averages))
    cells = axes.pcolormesh(
        list(HOURS),
        range(len(weekdays)),
        averages,
        cmap=LinearSegmentedColormap.from_list("blues", BLUES),
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
                format(number, as_text),
                ha="center",
                va="center",
                fontsize=points,
                color="white" if number > DARK * most else INK,
            )
    weekday, hour, _ = pickups.busiest
    _outline(axes, hour, weekdays.index(weekday))
    _draw_colour_bar(axes, cells)


def _outline(axes: "Axes", hour: int, row: int) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle((hour - 0.5, row - 0.5), 1, 1, fill=False, ec=ACCENT, lw=2.5, clip_on=False)
    )


def _draw_colour_bar(axes: "Axes", cells: "QuadMesh") -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    figure = axes.figure
    bar = figure.colorbar(cells, cax=figure.add_axes((RIGHT + 0.012, BOTTOM, 0.013, TOP - BOTTOM)))
    bar.outline.set_visible(False)
    bar.ax.set_title("per hour", color=GREY, fontsize=9.5, loc="left", pad=5)
    bar.ax.tick_params(colors=GREY, labelsize=9.5, length=0)
    bar.ax.yaxis.set_major_locator(MaxNLocator(nbins=6, min_n_ticks=1))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))


def _draw_bars(axes: "Axes", pickups: Pickups) -> None:
    """A bar for each hour of the one weekday that was counted."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    (weekday,) = pickups.counted
    averages = [hour[weekday] or 0.0 for hour in pickups.averages]
    busiest = pickups.busiest[1] if pickups.busiest else None
    colours = [BUSIEST_BAR if hour == busiest else BAR for hour in HOURS]
    bars = axes.bar(list(HOURS), averages, width=0.82, color=colours)
    if pickups.total:
        as_text = number_format(averages)
        labels = [format(number, as_text) for number in averages]
        axes.bar_label(bars, labels, padding=2, fontsize=8.5, color=INK)
    axes.set_xlim(-0.6, 23.6)
    axes.set_ylim(0, (max(averages) or 1) * 1.08)
    axes.set_ylabel("Pickups per hour", color=GREY, fontsize=11)
    # In the same place, however long the numbers beside it are.
    axes.yaxis.set_label_coords(0.02, (BOTTOM + TOP) / 2, transform=axes.figure.transFigure)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(axis="y", color=GRID, linewidth=0.9)
    axes.set_axisbelow(True)
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.spines["bottom"].set_color(GREY)


def _write_title(figure: "Figure", pickups: Pickups, question: Question) -> None:
    title = figure.text(
        MARGIN,
        0.935,
        f"{TAXIS} in {question.area}",
        color=INK,
        fontsize=TITLE_POINTS,
        fontweight="bold",
        parse_math=False,
    )
    width = title.get_window_extent().width / figure.bbox.width
    title.set_fontsize(min(TITLE_POINTS, TITLE_POINTS * (1 - 2 * MARGIN) / width))
    figure.text(MARGIN, 0.888, f"{question.days}: {_counted(pickups)}", color=GREY, fontsize=11.5)
    busiest = busiest_in_words(pickups)
    figure.text(MARGIN, 0.838, busiest, color=INK, fontsize=11.5, fontweight="bold")


def _counted(pickups: Pickups) -> str:
    """What the colours or bars are, and of how many trips and days."""
    trips, days = pickups.total, sum(pickups.weekdays)
    if not days:
        return "no data is loaded for these days"
    numbers = f"{_many(trips, 'trip')} in {_many(days, 'day')}"
    if days == 1:
        return f"pickups per hour, {numbers}"
    if max(pickups.weekdays) == 1:
        return f"pickups per hour of each day, {numbers}"
    return f"average pickups per hour of each weekday, {numbers}"


def _many(number: int, what: str) -> str:
    return f"{number:,} {what if number == 1 else f'{what}s'}"


def _write_notes(figure: "Figure", note: str, publishers: Sequence[str]) -> None:
    """From the bottom: who published the data, and above it the note."""
    lines = [
        line
        for text in (note, provenance.source_line(publishers))
        for line in wrap(text, NOTE_CHARACTERS)
    ]
    for place, line in enumerate(reversed(lines)):
        figure.text(MARGIN, 0.022 + 0.03 * place, line, color=GREY, fontsize=9.5, parse_math=False)


def _mark_as_sample(figure: "Figure", axes: "Axes") -> None:
    figure.text(
        axes.get_position().x1 - 0.005,
        0.84,
        "SYNTHETIC SAMPLE DATA",
        color="white",
        fontsize=9,
        fontweight="bold",
        ha="right",
        bbox={"facecolor": ACCENT, "edgecolor": "none", "boxstyle": "round,pad=0.4"},
    )


def to_png(figure: "Figure") -> bytes:
    """The figure as PNG of some 40 kB; the same figure always gives the same bytes."""
    from PIL import Image

    drawn, packed = BytesIO(), BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI, pil_kwargs={"compress_level": 0})
    # Half the size of true colours, and the preview of every chart is kept with Dagster's events.
    few_colours = (
        Image.open(drawn)
        .convert("RGB")
        .quantize(PALETTE, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    )
    few_colours.save(packed, "PNG", optimize=True)
    return packed.getvalue()
