"""Map: a measure in each taxi zone of a borough."""

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from adhoc_reports.lib import canvas, shapes
from adhoc_reports.lib.kinds.hours import draw_colour_bar
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
from adhoc_reports.lib.words import many
from taxi_shared.tables import BOROUGHS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from adhoc_reports.lib.outcome import Report
    from adhoc_reports.lib.request import Question
    from taxi_shared import engines
    from taxi_shared.lake import Snapshot

NAMED = 15
_LIST_LEFT = 0.56


class ZoneSums(NamedTuple):
    """A row of `measured_trips.sql` by zone."""

    zone_id: int
    num_trips: int
    num_used: int
    sum_numerator: Decimal
    sum_denominator: Decimal


class ZoneMap(Kind):
    """The zones of a borough, coloured by a measure."""

    name = "map"
    title = "Map of zones"
    description = "A map of a borough, or of the city, coloured by a measure in each taxi zone."
    takes_zone = False
    symbol = "M7 1H12V4H7ZM12 1 17 2V4H12M7 4V6H14L12 4"
    needs_zones = True

    def heading(self, question: "Question") -> str:
        """The measure by zone of a borough."""
        return measured(question, f"{event(question)}s by zone of {question.area}")

    def ask(self, lake: "Snapshot", question: "Question") -> "list[engines.Question[Any]]":
        """The sums of every zone."""
        keys = {"zone_id": f"trips.{question.side}_zone_id"}
        return [measured_trips(lake, question, ZoneSums, keys)]

    def content(
        self, question: "Question", answers: Sequence[Rows], facts: Facts
    ) -> dict[str, Any]:
        """A row for each zone of the area, the highest first, and the shapes of the zones."""
        from adhoc_reports.lib.outcome import Table

        found = {row.zone_id: row for row in answers[0]}
        # A column for the value of the measure, unless trips are counted.
        measures = () if measure_of(question).is_count else (question.measure,)
        rows: list[tuple[Any, ...]] = []
        inside = {z: each for z, each in facts.zones.items() if in_area(each[1], question)}
        for zone_id, (zone, borough, _) in inside.items():
            sums = [found[zone_id]] if zone_id in found else []
            values = [value_of(question, sums) for _ in measures]
            rows.append((zone_id, zone, borough, sum(row.num_trips for row in sums), *values))
        rows.sort(key=lambda row: (-(row[-1] if row[-1] is not None else -1), row[0]))
        return {
            "table": Table(
                columns=("zone_id", "zone", "borough", "trips", *measures),
                headings=(
                    *("Zone id", "Zone", "Borough", "Trips"),
                    *(heading_of(question) for _ in measures),
                ),
                rows=tuple(rows),
            ),
            "shapes": shapes.on_grid({z: wkt for z, (*_, wkt) in inside.items() if wkt}),
        }

    def shown(self, question: "Question", report: "Report") -> str:
        """What the colours are."""
        zones = many(sum(1 for row in report.rows if row[3]), "zone")
        return (
            f"{phrase_of(question, 'trips')} in each zone; {many(report.trips, 'trip')} in {zones}"
        )

    def finding(self, question: "Question", report: "Report") -> str:
        """The zone with the highest value."""
        known = [row for row in report.rows if row[3] and row[-1] is not None]
        if not known:
            return ""
        most = known[0]
        number = format(most[-1], number_format(row[-1] for row in known))
        return f"Highest: {most[1]}, {with_unit(question, number)}"

    def draw(self, figure: "Figure", question: "Question", report: "Report") -> "Axes":
        """The zones in blues, those without a value hatched, and a list of the highest."""
        from matplotlib.cm import ScalarMappable
        from matplotlib.collections import PatchCollection
        from matplotlib.colors import LinearSegmentedColormap, Normalize

        axes = figure.add_axes((canvas.MARGIN, 0.14, _LIST_LEFT - 0.06, canvas.TOP - 0.14))
        # No trips are no value, an average of zero is one.
        is_count = measure_of(question).is_count
        values = {
            str(row[0]): row[-1]
            for row in report.rows
            if row[-1] or (row[-1] == 0 and not is_count)
        }
        known = list(values.values())
        lowest = 0 if is_count else min(known, default=0)
        colours = ScalarMappable(
            Normalize(lowest, max(known, default=1) or 1),
            LinearSegmentedColormap.from_list("blues", canvas.BLUES),
        )
        for is_known, hatch in ((True, None), (False, "////")):
            drawn = [z for z in report.shapes if report.shapes[z] and (z in values) is is_known]
            patches = [shapes.patch(report.shapes[zone]) for zone in drawn]
            faces = [colours.to_rgba(values[z]) if is_known else "white" for z in drawn]
            axes.add_collection(
                PatchCollection(
                    patches, facecolors=faces, edgecolors="#9aa5b1", linewidths=0.5, hatch=hatch
                )
            )
        axes.autoscale_view()
        axes.set_aspect("equal")
        axes.invert_yaxis()
        axes.set_axis_off()
        if known:
            draw_colour_bar(axes, colours, measure_of(question).unit or "trips")
        as_text = number_format(known)
        named = [row for row in report.rows if str(row[0]) in values][:NAMED]
        for place, row in enumerate(named):
            height = canvas.TOP - 0.03 - place * 0.04
            style: Any = {"color": canvas.INK, "fontsize": 10, "parse_math": False}
            figure.text(_LIST_LEFT + 0.08, height, format(row[-1], as_text), ha="right", **style)
            figure.text(_LIST_LEFT + 0.095, height, str(row[1]), **style)
        hatched = "Hatched: no trip with a value. Days of the pickup, in New York."
        figure.text(_LIST_LEFT, 0.16, hatched, color=canvas.GREY, fontsize=9)
        return axes

    def count_drawn(self, figure: "Figure", report: "Report") -> int:
        """All trips where each zone with a shape is drawn."""
        drawn = sum(len(each.get_paths()) for each in figure.axes[0].collections)
        return report.trips if drawn == sum(map(bool, report.shapes.values())) else 0


def in_area(borough: str, question: "Question") -> bool:
    """Whether a zone of a borough is in the area of a question that is a borough or the city."""
    from adhoc_reports.lib.request import WHOLE_CITY

    if question.borough == WHOLE_CITY:
        return borough in BOROUGHS and borough != "EWR"
    return borough == question.borough
