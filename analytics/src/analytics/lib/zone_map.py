"""The parts of a map of taxi zones, coloured by their number of trips.

Zones are a GeoDataFrame with the columns zone, geometry and num_trips. A map is drawn on a bare
`Figure`: pyplot, which geopandas draws with, keeps global state that threads of one process would
share.
"""

from math import cos, radians
from textwrap import fill
from typing import Any

from taxi_shared.io_managers import Figure, GeoDataFrame

WEST, EAST = -74.05, -73.90
SOUTH, NORTH = 40.70, 40.82
LEFT = 0.085  # of the figure's width: where the map and all text begin
DPI = 150
KM_PER_DEGREE = 111.32  # of latitude; of longitude it is this times the cosine of the latitude
KM_PER_MILE = 1.609344
LONGITUDE_SCALE = cos(radians((SOUTH + NORTH) / 2))

COLOURS = "plasma"
NO_TRIPS_COLOUR = "#d4d4d4"
BACKGROUND, BORDER, TEXT, MUTED_TEXT = "#f5f5f3", "#bbbbbb", "#222222", "#666666"
SUBTITLE_HEIGHTS = (0.937, 0.914, 0.891)  # of the figure
SOURCE_CHARACTERS = 115  # per line
NUM_BUSIEST_ZONES = 5
LIST_LEFT = 0.56  # of the map's width: where the list begins, east of Manhattan


def create_map() -> tuple[Figure, Any]:
    """A figure with the axes of the map, which show the extent above and nothing yet."""
    from matplotlib.figure import Figure as BareFigure
    from matplotlib.ticker import FuncFormatter, MultipleLocator

    figure = BareFigure(figsize=(8, 7.6), dpi=DPI, facecolor="white")
    axes = figure.add_axes((LEFT, 0.08, 0.74, 0.785))
    axes.set(xlim=(WEST, EAST), ylim=(SOUTH, NORTH), facecolor=BACKGROUND)
    # A degree of longitude is shorter than one of latitude; drawn alike, Manhattan would be wide.
    axes.set_aspect(1 / LONGITUDE_SCALE)
    axes.xaxis.set_major_locator(MultipleLocator(0.05))
    axes.yaxis.set_major_locator(MultipleLocator(0.02))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{-x:.2f}° W"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.2f}° N"))
    axes.tick_params(labelsize=8, colors=MUTED_TEXT, length=3)
    for spine in axes.spines.values():
        spine.set_color(BORDER)
    return figure, axes


def colour_zones(axes: Any, zones: GeoDataFrame) -> Any:
    """Draw the zones; returns the `ScalarMappable` of their colours for the colour bar.

    Colours are linear from 0 to the busiest zone; a zone without trips is grey.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import PatchCollection
    from matplotlib.colors import Normalize

    colours = ScalarMappable(Normalize(0, max(1, zones["num_trips"].max())), colormaps[COLOURS])
    drawn = zones[_has_shape(zones)]
    axes.add_collection(
        PatchCollection(
            [_patch(shape) for shape in drawn.geometry],
            facecolors=[colours.to_rgba(n) if n else NO_TRIPS_COLOUR for n in drawn["num_trips"]],
            edgecolors="white",
            linewidths=0.6,
        ),
        autolim=False,
    )
    return colours


def add_colour_bar(axes: Any, colours: Any) -> None:
    """Draw the scale of the colours beside the map, and the colour of no trips."""
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    bar = axes.figure.colorbar(
        colours,
        cax=axes.inset_axes((1.035, 0.06, 0.035, 0.86)),
        ticks=MaxNLocator(6, integer=True),
        format=StrMethodFormatter("{x:,.0f}"),
    )
    bar.ax.set_title("Trips per zone\n(linear scale)", loc="left", fontsize=8.5, color=TEXT)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, colors=MUTED_TEXT, length=3)
    axes.legend(
        handles=[Patch(facecolor=NO_TRIPS_COLOUR, label="no trips")],
        loc="lower left",
        bbox_to_anchor=(1.035, 0.0),
        frameon=False,
        fontsize=8,
        labelcolor=MUTED_TEXT,
        handlelength=2.05,
        handleheight=1.2,
        handletextpad=0.7,
        borderpad=0,
        borderaxespad=0,
    )


def list_busiest_zones(axes: Any, zones: GeoDataFrame) -> None:
    """Number the busiest zones on the map, and name them beside it, over Brooklyn and Queens."""
    busiest = zones[(zones["num_trips"] > 0) & _is_on_map(zones)].nlargest(
        NUM_BUSIEST_ZONES, "num_trips"
    )
    if busiest.empty:
        return
    style = {"transform": axes.transAxes, "fontsize": 7.5, "color": TEXT}
    top, line = 0.22, 0.027
    axes.text(LIST_LEFT, top, "Busiest zones, trips", fontweight="bold", **style)
    rows = zip(busiest["zone"], busiest.geometry, busiest["num_trips"], strict=True)
    for number, (zone, shape, trips) in enumerate(rows, start=1):
        point = shape.intersection(_extent()).representative_point()
        axes.text(
            point.x,
            point.y,
            str(number),
            fontsize=7,
            fontweight="bold",
            color=TEXT,
            ha="center",
            va="center_baseline",
            bbox={"boxstyle": "circle,pad=0.2", "facecolor": "white", "linewidth": 0},
        )
        height = top - number * line
        axes.text(LIST_LEFT, height, str(number), fontweight="bold", **style)
        axes.text(LIST_LEFT + 0.12, height, f"{trips:,}", ha="right", **style)
        axes.text(LIST_LEFT + 0.135, height, zone, **style)


def add_scale_bar(axes: Any) -> None:
    """Draw a mile and a kilometre, back to back."""
    left, height = WEST + LIST_LEFT * (EAST - WEST), SOUTH + 0.0045
    for length, unit, side in ((KM_PER_MILE, "1 mi", 1), (1.0, "1 km", -1)):
        right = left + length / (KM_PER_DEGREE * LONGITUDE_SCALE)
        tick = 0.001 * side
        axes.plot(
            (left, left, right, right),
            (height + tick, height, height, height + tick),
            color=TEXT,
            linewidth=1,
            solid_joinstyle="miter",
        )
        axes.text(
            right + 0.001,
            height + 0.0002 * side,
            unit,
            fontsize=7.5,
            color=TEXT,
            va="bottom" if side > 0 else "top",
        )


def add_title(figure: Figure, title: str, *subtitles: list[str]) -> None:
    """Write a title above the map, and below it up to three lines of several parts."""
    figure.text(LEFT, 0.957, title, fontsize=15, fontweight="bold", color=TEXT)
    for height, parts in zip(SUBTITLE_HEIGHTS, subtitles, strict=False):
        text = "  ·  ".join(parts)
        figure.text(LEFT, height, text, fontsize=9, color=MUTED_TEXT, va="center")


def add_source(figure: Figure, source: str) -> None:
    """Write the source of the trips below the map."""
    text = fill(source, SOURCE_CHARACTERS)
    figure.text(LEFT, 0.022, text, fontsize=8, color=MUTED_TEXT, va="center")


def count_trips(zones: GeoDataFrame) -> list[str]:
    """The number of trips and the number of zones, as two texts."""
    trips = int(zones["num_trips"].sum())
    return [f"{trips:,} trips by zone of pickup", _describe_number(len(zones))]


def count_trips_not_drawn(zones: GeoDataFrame) -> list[str]:
    """The number of trips in zones that the map does not show, a text per reason."""
    has_shape = _has_shape(zones)
    hidden = (
        (zones[has_shape & ~_is_on_map(zones)], "outside this map"),
        (zones[~has_shape], "without a shape (not drawn)"),
    )
    return [
        f"{int(found['num_trips'].sum()):,} trips in {_describe_number(len(found))} {reason}"
        for found, reason in hidden
        if not found.empty
    ]


def _describe_number(number: int) -> str:
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


def _patch(shape: Any) -> Any:
    """A polygon or several as one patch, with their holes."""
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
