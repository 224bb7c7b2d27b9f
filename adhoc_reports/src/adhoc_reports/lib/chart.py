"""The chart of a request: pickups by hour of day, stacked by day of week."""

from io import BytesIO
from typing import TYPE_CHECKING

from adhoc_reports.lib.pickups import HOURS, WEEKDAYS, Pickups
from adhoc_reports.lib.request import Request

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Working days from light to dark blue, the weekend in warm colours around them.
COLOURS = ("#e8743b", "#c6dbef", "#9ecae1", "#6baed6", "#3e8ec4", "#1f5fa8", "#f6b26b")
INK, GREY, GRID = "#1f2933", "#5f6b7a", "#e3e7ec"
INCHES, DOTS_AN_INCH, PALETTE = (11.0, 6.2), 120, 128
LEFT, BOTTOM, RIGHT, TOP = 0.115, 0.13, 0.975, 0.79  # of the axes, in parts of the figure


def draw(pickups: Pickups, request: Request, note: str = "") -> "Figure":
    """The chart of a request's numbers; `note` is a remark on them, put below."""
    # Imported here: the code server and the sensor have no use for matplotlib, and it is slow.
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    figure = Figure(figsize=INCHES, facecolor="white")
    axes = figure.add_axes((LEFT, BOTTOM, RIGHT - LEFT, TOP - BOTTOM))
    bottoms = [0] * len(HOURS)
    for weekday, (label, colour) in enumerate(zip(WEEKDAYS, COLOURS, strict=True)):
        numbers = pickups.of_weekday(weekday)
        axes.bar(
            list(HOURS),
            numbers,
            bottom=bottoms,
            width=0.82,
            label=label,
            color=colour,
            edgecolor="white",
            linewidth=0.4,
        )
        bottoms = [below + number for below, number in zip(bottoms, numbers, strict=True)]

    start, end = request.dates
    days = (end - start).days
    figure.text(
        LEFT,
        0.935,
        f"Taxi pickups in {request.area}",
        color=INK,
        fontsize=17,
        fontweight="bold",
        parse_math=False,
    )
    figure.text(
        LEFT,
        0.885,
        f"{request.days}: {pickups.total:,} {'trip' if pickups.total == 1 else 'trips'} in "
        f"{days:,} {'day' if days == 1 else 'days'}, by hour of day and day of week",
        color=GREY,
        fontsize=11.5,
    )
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.03),
        borderpad=0,
        borderaxespad=0,
        ncols=len(WEEKDAYS),
        frameon=False,
        fontsize=10.5,
        labelcolor=INK,
        handlelength=1.0,
        handleheight=1.0,
        handletextpad=0.5,
        columnspacing=1.5,
    )
    axes.set_xlabel("Hour of day", color=GREY, fontsize=11, labelpad=6)
    axes.set_ylabel("Number of trips", color=GREY, fontsize=11)
    # Where the label is, whatever the length of the numbers beside it.
    axes.yaxis.set_label_coords(0.02, (BOTTOM + TOP) / 2, transform=figure.transFigure)
    axes.set_xticks(list(HOURS))
    axes.set_xlim(-0.6, 23.6)
    axes.set_ylim(0, (max(bottoms) or 1) * 1.05)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.tick_params(colors=GREY, labelsize=10, length=0)
    axes.grid(axis="y", color=GRID, linewidth=0.9)
    axes.set_axisbelow(True)
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.spines["bottom"].set_color(GREY)
    if pickups.total == 0:
        axes.text(
            0.5,
            0.5,
            f"No trips from {request.area} in these days",
            transform=axes.transAxes,
            ha="center",
            va="center",
            color=GREY,
            fontsize=16,
            parse_math=False,
        )
    figure.text(LEFT, 0.025, note, color=GREY, fontsize=9.5, style="italic")
    figure.text(
        RIGHT, 0.025, "Source: NYC Taxi & Limousine Commission", color=GREY, fontsize=9, ha="right"
    )
    return figure


def to_png(figure: "Figure") -> bytes:
    """The figure as PNG of about 20 kB; the same figure always gives the same bytes."""
    from PIL import Image

    drawn, packed = BytesIO(), BytesIO()
    figure.savefig(drawn, format="png", dpi=DOTS_AN_INCH, pil_kwargs={"compress_level": 0})
    # Half the size of true colours, and the preview of every chart is kept with Dagster's events.
    few_colours = (
        Image.open(drawn)
        .convert("RGB")
        .quantize(PALETTE, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    )
    few_colours.save(packed, "PNG", optimize=True)
    return packed.getvalue()
