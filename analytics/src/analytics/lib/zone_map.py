"""A map of taxi zones, coloured by their number of trips.

Drawn on a bare `Figure`: pyplot, which geopandas draws with, keeps global state that threads of one
process would share.
"""

from math import cos, radians
from textwrap import fill
from typing import Any

from analytics.lib.frames import Figure, GeoDataFrame

WEST, EAST = -74.05, -73.90
SOUTH, NORTH = 40.70, 40.82
LEFT = 0.085  # of the figure: where the map and all text begin
KM_PER_DEGREE = 111.32  # of latitude; of longitude it is this times the cosine of the latitude
KM_PER_MILE = 1.609344
SHRINKAGE = cos(radians((SOUTH + NORTH) / 2))

COLOURS = "plasma"
NO_TRIPS = "#d4d4d4"
PAPER, INK, FAINT = "#f5f5f3", "#222222", "#666666"
SOURCE_LETTERS = 115  # per line
LISTED = 5
LIST_AT = 0.56  # of the width, east of Manhattan


def draw(
    zones: GeoDataFrame, title: str, *, period: str, source: str, is_synthetic: bool = False
) -> Figure:
    """The part of the zones within the extent; columns zone, geometry, num_trips.

    Colours are linear from 0 to the busiest zone; a zone without trips is grey. `period` and
    `source` are those of the trips.
    """
    from matplotlib.figure import Figure as BareFigure

    figure = BareFigure(figsize=(8, 7.6), dpi=150, facecolor="white")
    axes = figure.add_axes((LEFT, 0.08, 0.74, 0.785))
    _frame(axes)
    colours = _fill(axes, zones)
    _colour_bar(figure, axes, colours)
    _list_busiest(axes, zones)
    _scale_bar(axes)
    kind = ["Synthetic sample data"] if is_synthetic else []
    lines = ([*kind, period], count_trips(zones), count_trips_not_drawn(zones))
    figure.text(LEFT, 0.957, title, fontsize=15, fontweight="bold", color=INK)
    for height, parts in zip((0.937, 0.914, 0.891), lines, strict=True):
        text = "  ·  ".join(parts)
        figure.text(LEFT, height, text, fontsize=9, color=FAINT, va="center")
    footer = fill(source, SOURCE_LETTERS)
    figure.text(LEFT, 0.022, footer, fontsize=8, color=FAINT, va="center")
    return figure


def count_trips(zones: GeoDataFrame) -> list[str]:
    """How many trips the zones have, and how many zones there are."""
    trips = int(zones["num_trips"].sum())
    return [f"{trips:,} trips by zone of pickup", _number_of_zones(len(zones))]


def count_trips_not_drawn(zones: GeoDataFrame) -> list[str]:
    """How many of the trips are in zones that the map does not show, and why it does not."""
    has_shape = _has_shape(zones)
    hidden = (
        (zones[has_shape & ~_is_on_map(zones)], "outside this map"),
        (zones[~has_shape], "without a shape (not drawn)"),
    )
    return [
        f"{int(found['num_trips'].sum()):,} trips in {_number_of_zones(len(found))} {reason}"
        for found, reason in hidden
        if not found.empty
    ]


def _number_of_zones(number: int) -> str:
    return f"{number} zone" if number == 1 else f"{number} zones"


def _has_shape(zones: GeoDataFrame) -> Any:
    import shapely

    shapes = zones.geometry.to_numpy()
    return shapely.is_geometry(shapes) & ~shapely.is_empty(shapes)


def _is_on_map(zones: GeoDataFrame) -> Any:
    return zones.geometry.intersects(_extent())


def _extent() -> Any:
    import shapely

    return shapely.box(WEST, SOUTH, EAST, NORTH)


def _frame(axes: Any) -> None:
    from matplotlib.ticker import FuncFormatter, MultipleLocator

    axes.set(xlim=(WEST, EAST), ylim=(SOUTH, NORTH), facecolor=PAPER)
    # A degree of longitude is shorter than one of latitude; drawn alike, Manhattan would be fat.
    axes.set_aspect(1 / SHRINKAGE)
    axes.xaxis.set_major_locator(MultipleLocator(0.05))
    axes.yaxis.set_major_locator(MultipleLocator(0.02))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{-x:.2f}° W"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.2f}° N"))
    axes.tick_params(labelsize=8, colors=FAINT, length=3)
    for spine in axes.spines.values():
        spine.set_color("#bbbbbb")


def _fill(axes: Any, zones: GeoDataFrame) -> Any:
    """Draw the zones; returns what a colour bar needs."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import PatchCollection
    from matplotlib.colors import Normalize

    colours = ScalarMappable(Normalize(0, max(1, zones["num_trips"].max())), colormaps[COLOURS])
    drawn = zones[_has_shape(zones)]
    axes.add_collection(
        PatchCollection(
            [_patch(shape) for shape in drawn.geometry],
            facecolors=[colours.to_rgba(n) if n else NO_TRIPS for n in drawn["num_trips"]],
            edgecolors="white",
            linewidths=0.6,
        ),
        autolim=False,
    )
    return colours


def _patch(shape: Any) -> Any:
    """A polygon or several, with their holes, as one patch."""
    import shapely
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    rings = [
        ring
        for polygon in shapely.get_parts(shape)
        for ring in (polygon.exterior, *polygon.interiors)
    ]
    return PathPatch(
        Path.make_compound_path(*(Path(shapely.get_coordinates(r), closed=True) for r in rings))
    )


def _colour_bar(figure: Any, axes: Any, colours: Any) -> None:
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    bar = figure.colorbar(
        colours,
        cax=axes.inset_axes((1.035, 0.06, 0.035, 0.86)),
        ticks=MaxNLocator(6, integer=True),
        format=StrMethodFormatter("{x:,.0f}"),
    )
    bar.ax.set_title("Trips per zone\n(linear scale)", loc="left", fontsize=8.5, color=INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, colors=FAINT, length=3)
    axes.legend(
        handles=[Patch(facecolor=NO_TRIPS, label="no trips")],
        loc="lower left",
        bbox_to_anchor=(1.035, 0.0),
        frameon=False,
        fontsize=8,
        labelcolor=FAINT,
        handlelength=2.05,
        handleheight=1.2,
        handletextpad=0.7,
        borderpad=0,
        borderaxespad=0,
    )


def _list_busiest(axes: Any, zones: GeoDataFrame) -> None:
    """Number the busiest zones on the map, and name them beside it, over Brooklyn and Queens."""
    busiest = zones[(zones["num_trips"] > 0) & _is_on_map(zones)].nlargest(LISTED, "num_trips")
    if busiest.empty:
        return
    style = {"transform": axes.transAxes, "fontsize": 7.5, "color": INK}
    top, line = 0.22, 0.027
    axes.text(LIST_AT, top, "Busiest zones, trips", fontweight="bold", **style)
    rows = zip(busiest["zone"], busiest.geometry, busiest["num_trips"], strict=True)
    for number, (zone, shape, trips) in enumerate(rows, start=1):
        point = shape.intersection(_extent()).representative_point()
        axes.text(
            point.x,
            point.y,
            str(number),
            fontsize=7,
            fontweight="bold",
            color=INK,
            ha="center",
            va="center_baseline",
            bbox={"boxstyle": "circle,pad=0.2", "facecolor": "white", "linewidth": 0},
        )
        height = top - number * line
        axes.text(LIST_AT, height, str(number), fontweight="bold", **style)
        axes.text(LIST_AT + 0.12, height, f"{trips:,}", ha="right", **style)
        axes.text(LIST_AT + 0.135, height, zone, **style)


def _scale_bar(axes: Any) -> None:
    """A mile and a kilometre, back to back."""
    left, height = WEST + LIST_AT * (EAST - WEST), SOUTH + 0.0045
    for length, unit, side in ((KM_PER_MILE, "1 mi", 1), (1.0, "1 km", -1)):
        right = left + length / (KM_PER_DEGREE * SHRINKAGE)
        tick = 0.001 * side
        axes.plot(
            (left, left, right, right),
            (height + tick, height, height, height + tick),
            color=INK,
            linewidth=1,
            solid_joinstyle="miter",
        )
        axes.text(
            right + 0.001,
            height + 0.0002 * side,
            unit,
            fontsize=7.5,
            color=INK,
            va="bottom" if side > 0 else "top",
        )
