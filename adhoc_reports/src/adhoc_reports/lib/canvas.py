"""What the charts of all kinds share: size, colours, title and notes.

Colours are safe for those who see colours differently: blues from light to dark, and the blue and
vermilion of Okabe and Ito (https://jfly.uni-koeln.de/color/) for two lines, which also differ in
their marks.
"""

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

from taxi_shared import provenance

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# From light to dark, so that it reads the same in grey. The portal's heat map has the same blues.
BLUES = ("#eef1f5", "#d9e6f4", "#b4d0ea", "#88b6dd", "#5b98cd", "#3677b5", "#1d5695", "#0b3568")
INK, GREY, GRID, ACCENT, MISSING = "#1a2330", "#535f6f", "#e3e7ec", "#c2410c", "#f1eee6"
BAR, HIGHEST_BAR = "#5b98cd", "#0b3568"
LINES, MARKS = ("#0072b2", "#d55e00"), ("o", "s")
INCHES = (11.0, 6.2)
# In parts of the figure: where texts begin, and the axes.
MARGIN, LEFT, BARS_LEFT, RIGHT, BOTTOM, TOP = 0.025, 0.13, 0.11, 0.92, 0.2, 0.805
BOX = (BARS_LEFT, BOTTOM, 1 - MARGIN - BARS_LEFT, TOP - BOTTOM)
TITLE_POINTS, NOTE_CHARACTERS = 17.0, 150
FOUR_DIGITS = 10_000


def write_title(figure: "Figure", title: str, shown: str, finding: str) -> None:
    """The title, what the marks are, and what the chart says; each shrinks to the width."""
    lines = (
        (0.935, title, TITLE_POINTS, INK),
        (0.888, shown, 11.5, GREY),
        (0.838, finding, 11.5, INK),
    )
    for height, text, points, colour in lines:
        is_bold = colour == INK
        line = figure.text(
            MARGIN,
            height,
            text,
            color=colour,
            fontsize=points,
            fontweight="bold" if is_bold else "normal",
            parse_math=False,
        )
        if text:
            width = line.get_window_extent().width / figure.bbox.width
            line.set_fontsize(min(points, points * (1 - 2 * MARGIN) / width))


def write_notes(figure: "Figure", notes: Sequence[str]) -> None:
    """Notes below the axes, the last at the bottom."""
    lines = [line for text in notes for line in wrap(text, NOTE_CHARACTERS)]
    for place, line in enumerate(reversed(lines)):
        figure.text(MARGIN, 0.022 + 0.028 * place, line, color=GREY, fontsize=9, parse_math=False)


def mark_as_sample(figure: "Figure", publishers: Sequence[str]) -> None:
    """A badge on charts of synthetic data."""
    if provenance.SYNTHETIC not in publishers:
        return
    figure.text(
        1 - MARGIN,
        0.945,
        "SYNTHETIC SAMPLE DATA",
        color="white",
        fontsize=9,
        fontweight="bold",
        ha="right",
        bbox={"facecolor": ACCENT, "edgecolor": "none", "boxstyle": "round,pad=0.4"},
    )


def write_in_the_middle(axes: "Axes", text: str) -> None:
    """A text in place of marks."""
    axes.text(
        0.5,
        0.5,
        text,
        transform=axes.transAxes,
        ha="center",
        va="center",
        color=GREY,
        fontsize=16,
        parse_math=False,
    )


def label_ticks(axis: "Axis", at_most: int) -> None:
    """Round numbers along an axis, with commas instead of powers of ten."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=at_most, min_n_ticks=1))
    axis.set_major_formatter(
        FuncFormatter(
            lambda value, _: f"{value:,.4g}" if abs(value) < FOUR_DIGITS else f"{value:,.0f}"
        )
    )


def style_axes(axes: "Axes", across: str, up: str) -> None:
    """Labels and quiet lines for bars and lines whose numbers are on the left."""
    axes.set_xlabel(across, color=GREY, fontsize=11, labelpad=6)
    axes.set_ylabel(up, color=GREY, fontsize=11)
    # In the same place, however long the numbers beside it are.
    box = axes.get_position()
    axes.yaxis.set_label_coords(0.02, (box.y0 + box.y1) / 2, transform=axes.figure.transFigure)
    label_ticks(axes.yaxis, at_most=7)
    axes.tick_params(colors=GREY, labelsize=10, length=0)
    axes.grid(axis="y", color=GRID, linewidth=0.9)
    axes.set_axisbelow(True)
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.spines["bottom"].set_color(GREY)
