"""Origins and destinations: the strongest pairs of zones, and where they are."""

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from adhoc_reports.lib import canvas, shapes
from adhoc_reports.lib.kinds.kind import (
    Facts,
    Kind,
    Rows,
    heading_of,
    measure_of,
    measured,
    measured_trips,
    value_of,
)
from adhoc_reports.lib.services import SERVICES
from adhoc_reports.lib.words import many

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from adhoc_reports.lib.outcome import Report
    from adhoc_reports.lib.request import Question
    from taxi_shared import engines
    from taxi_shared.lake import Snapshot

PAIRS = 20
UNKNOWN_ZONE = 264
_LABEL = 34
_END = 0.61
"""Where the bars end, as a fraction of the figure's width."""


class PairSums(NamedTuple):
    """A row of `measured_trips.sql` by pair of zones."""

    pickup_zone: int
    dropoff_zone: int
    num_trips: int
    num_used: int
    sum_numerator: Decimal
    sum_denominator: Decimal


class AreaSums(NamedTuple):
    """A row of `measured_trips.sql` by the zone in the area."""

    zone_id: int
    num_trips: int
    num_used: int
    sum_numerator: Decimal
    sum_denominator: Decimal


class Flows(Kind):
    """The pairs of zones with the most trips from an area, or to it."""

    name = "flows"
    title = "Origins and destinations"
    description = (
        f"The {PAIRS} strongest pairs of zones from an area (pickups) or to it (drop-offs)."
    )
    symbol = "M5 2H18M16 1 18 2 16 3M5 5H14M12 4 14 5 12 6"
    needs_zones = True

    def heading(self, question: "Question") -> str:
        """From or to an area."""
        direction = "from" if question.side == "pickup" else "to"
        service = SERVICES[question.service].title
        return measured(question, f"{service} trips {direction} {question.area}")

    def ask(self, lake: "Snapshot", question: "Question") -> "list[engines.Question[Any]]":
        """The sums of every zone of the area, and of the strongest pairs."""
        area = {"zone_id": f"trips.{question.side}_zone_id"}
        # No engine places NULL like another: trips without a zone count as TLC's unknown zone.
        pairs = {
            f"{end}_zone": f"COALESCE(trips.{end}_zone_id, {UNKNOWN_ZONE})"
            for end in ("pickup", "dropoff")
        }
        order = f"num_trips DESC, pickup_zone, dropoff_zone\nLIMIT {PAIRS}"
        return [
            measured_trips(lake, question, AreaSums, area),
            measured_trips(lake, question, PairSums, pairs, order=order),
        ]

    def content(
        self, question: "Question", answers: Sequence[Rows], facts: Facts
    ) -> dict[str, Any]:
        """A row for each pair, the strongest first, and the shapes of all zones of the city."""
        from adhoc_reports.lib.outcome import Table

        total = sum(row.num_trips for row in answers[0])
        # A column for the value of the measure, unless trips are counted.
        measures = () if measure_of(question).is_count else (question.measure,)
        nowhere = ("Unknown", "Unknown", None)
        rows = []
        for rank, row in enumerate(answers[1], start=1):
            origin = facts.zones.get(row.pickup_zone, nowhere)
            destination = facts.zones.get(row.dropoff_zone, nowhere)
            ends = (row.pickup_zone, *origin[:2], row.dropoff_zone, *destination[:2])
            values = [value_of(question, [row]) for _ in measures]
            rows.append((rank, *ends, row.num_trips, 100 * row.num_trips / total, *values))
        return {
            "table": Table(
                columns=(
                    *("rank", "from_zone_id", "from_zone", "from_borough"),
                    *("to_zone_id", "to_zone", "to_borough", "trips", "share_percent"),
                    *measures,
                ),
                headings=(
                    *("Rank", "From zone id", "From", "From borough", "To zone id", "To"),
                    *("To borough", "Trips", "Share of all, %"),
                    *(heading_of(question) for _ in measures),
                ),
                rows=tuple(rows),
            ),
            "shapes": shapes.on_grid({z: wkt for z, (*_, wkt) in facts.zones.items() if wkt}),
        }

    def shown(self, question: "Question", report: "Report") -> str:
        """How much of all trips the pairs are."""
        share = sum(row[8] for row in report.rows)
        pairs = many(len(report.rows), "pair")
        of_all = f"{share:.1f}% of {many(report.trips, 'trip')}"
        return f"the {pairs} of zones with the most trips, {of_all}"

    def finding(self, question: "Question", report: "Report") -> str:
        """The strongest pair."""
        if not report.rows:
            return ""
        row = report.rows[0]
        return f"Strongest: {row[2]} to {row[5]}, {many(row[7], 'trip')} ({row[8]:.1f}%)"

    def draw(self, figure: "Figure", question: "Question", report: "Report") -> "Axes":
        """A bar for each pair, and a map with a line for each, as wide as it is strong."""
        rows = report.rows
        axes = figure.add_axes((0, canvas.BOTTOM - 0.05, _END, canvas.TOP - canvas.BOTTOM + 0.05))
        places, trips = list(range(len(rows))), [row[7] for row in rows]
        bars = axes.barh(places, trips, color=canvas.BAR, height=0.75)
        axes.bar_label(bars, [f"{n:,}" for n in trips], padding=2, fontsize=8, color=canvas.INK)
        axes.set_yticks(places, [f"{_short(row[2])} → {_short(row[5])}" for row in rows])
        axes.tick_params(colors=canvas.INK, labelsize=8, length=0)
        axes.set_xticks([])
        axes.set_xlim(0, max(trips, default=1) * 1.3)
        axes.set_ylim(PAIRS - 0.4, -0.6)
        axes.spines[:].set_visible(False)
        _make_room_for_labels(axes)
        words = "Days of the pickup, in New York."
        if report.shapes:
            _draw_map(figure, report)
            words = f"Dot: trips within a zone. {words}"
        figure.text(0.65, 0.105, words, color=canvas.GREY, fontsize=9)
        return axes

    def count_drawn(self, figure: "Figure", report: "Report") -> int:
        """All trips where each pair has a bar as long as its trips."""
        drawn = [int(bar.get_width()) for bar in figure.axes[0].containers[0]]
        return report.trips if drawn == [row[7] for row in report.rows] else 0


def _short(name: str) -> str:
    return name if len(name) <= _LABEL else f"{name[: _LABEL - 1]}…"


def _make_room_for_labels(axes: "Axes") -> None:
    """Begin the bars right of the longest label."""
    widths = [label.get_window_extent().width for label in axes.get_yticklabels()]
    # In the resolution of the picture, texts are a little wider.
    left = canvas.MARGIN + 1.06 * max(widths, default=0) / axes.figure.bbox.width
    place = axes.get_position()
    axes.set_position((left, place.y0, _END - left, place.height))


def _draw_map(figure: "Figure", report: "Report") -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import FancyArrowPatch

    axes = figure.add_axes((0.63, 0.13, 0.36, canvas.TOP - 0.13))
    patches = [shapes.patch(path) for path in report.shapes.values() if path]
    axes.add_collection(
        PatchCollection(patches, facecolors="#f4f6f9", edgecolors="#ccd4de", linewidths=0.4)
    )
    most = report.rows[0][7] if report.rows else 1
    middles: dict[str, tuple[float, float]] = {}
    for row in report.rows:
        ends = [str(row[1]), str(row[4])]
        if not all(report.shapes.get(end) for end in ends):
            continue
        origin, destination = (
            middles.setdefault(e, shapes.middle_of(report.shapes[e])) for e in ends
        )
        width = 0.6 + 2.6 * row[7] / most
        if origin == destination:
            axes.plot(*origin, "o", color=canvas.LINES[1], markersize=3 + width * 2, alpha=0.8)
            continue
        axes.add_patch(
            FancyArrowPatch(
                origin,
                destination,
                connectionstyle="arc3,rad=0.2",
                arrowstyle="-|>",
                mutation_scale=8,
                color=canvas.LINES[0],
                linewidth=width,
                alpha=0.8,
            )
        )
    if middles:
        spread = [[place[axis] for place in middles.values()] for axis in (0, 1)]
        room = max(60, *(0.25 * (max(each) - min(each)) for each in spread))
        axes.set_xlim(min(spread[0]) - room, max(spread[0]) + room)
        axes.set_ylim(min(spread[1]) - room, max(spread[1]) + room)
    else:
        axes.autoscale_view()
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.set_axis_off()
