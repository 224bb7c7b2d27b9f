"""What a kind of report is, and the query that all kinds but the first share."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.resources import files
from typing import TYPE_CHECKING, Any, ClassVar

from adhoc_reports.lib.measures import MEASURES, Measure
from adhoc_reports.lib.services import SERVICES
from taxi_shared.tables import ZONES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from adhoc_reports.lib.outcome import Report, Table
    from adhoc_reports.lib.request import Question
    from taxi_shared import engines
    from taxi_shared.lake import Snapshot

QUERY = (files("adhoc_reports") / "sql" / "measured_trips.sql").read_text(encoding="utf-8")

Rows = Sequence[Any]
"""Of the answer to one query: named tuples, each with `num_trips`."""


class Facts:
    """What a kind may need besides the rows of its queries.

    months: the first days of the loaded months of the service
    zones:  zone, borough and shape as WKT (None without one) by the zone's id; empty for a kind
            that does not need them
    """

    def __init__(
        self, months: Sequence[date], zones: Mapping[int, tuple[str, str, str | None]]
    ) -> None:
        self.months, self.zones = months, zones


class Kind(ABC):
    """A kind of report.

    name:        in requests
    title:       in the form
    symbol:      path of an SVG of 24 by 7, for lists; empty where they show the numbers
    description: a sentence for people who choose one
    fields:      of a request that only some kinds have, and this one needs or takes
    takes_zone:  whether its area can be one taxi zone
    needs_zones: whether its content needs the zones of `Facts`
    shows_gaps:  whether it shows which months within the period are not loaded
    """

    name: ClassVar[str]
    title: ClassVar[str]
    description: ClassVar[str]
    symbol: ClassVar[str] = ""
    fields: ClassVar[tuple[str, ...]] = ()
    takes_zone: ClassVar[bool] = True
    needs_zones: ClassVar[bool] = False
    shows_gaps: ClassVar[bool] = False

    def heading(self, question: "Question") -> str:
        """The title of a report: `Average fare, yellow taxi pickups in Manhattan`."""
        return measured(question, f"{event(question)}s in {question.area}")

    @abstractmethod
    def ask(self, lake: "Snapshot", question: "Question") -> "list[engines.Question[Any]]":
        """The queries: one for each part of a question, in their order, then any others.

        The rows of a part are all its trips.
        """

    @abstractmethod
    def content(
        self, question: "Question", answers: Sequence[Rows], facts: Facts
    ) -> dict[str, Any]:
        """The fields of the `Report` that the rows of the queries give."""

    @abstractmethod
    def draw(self, figure: "Figure", question: "Question", report: "Report") -> "Axes":
        """Draw the report between the title and the notes; returns the axes."""

    @abstractmethod
    def shown(self, question: "Question", report: "Report") -> str:
        """What the marks of the chart are, and of how many trips."""

    @abstractmethod
    def finding(self, question: "Question", report: "Report") -> str:
        """The chart in a sentence; empty without trips."""

    def table(self, question: "Question", report: "Report") -> "Table":
        """The numbers of a report: a row for each observation."""
        return report.table

    def page_table(self, question: "Question", report: "Report") -> "Table":
        """The numbers as the page shows them."""
        return self.table(question, report)

    def part_names(self, question: "Question") -> tuple[str, ...]:
        """What the parts of a question are called, in their order."""
        return tuple(part.area for part in question.parts)

    def count_drawn(self, figure: "Figure", report: "Report") -> int:
        """How many trips the marks of a chart stand for, as far as the figure itself says so."""
        return report.trips if figure.axes else 0


def measure_of(question: "Question") -> Measure:
    """The measure of a question."""
    return MEASURES[question.measure]


def event(question: "Question") -> str:
    """`Yellow taxi pickup`."""
    side = {"pickup": "pickup", "dropoff": "drop-off"}[question.side]
    return f"{SERVICES[question.service].title} {side}"


def measured(question: "Question", trips: str) -> str:
    """A title, with the measure in front unless trips are counted."""
    measure = measure_of(question)
    return trips if measure.is_count else f"{measure.title}: {trips[:1].lower()}{trips[1:]}"


def heading_of(question: "Question", count: str = "Trips") -> str:
    """The heading of a column or axis with the values of the measure.

    count: where trips are counted
    """
    measure = measure_of(question)
    return count if measure.is_count else f"{measure.title}, {measure.unit}"


def phrase_of(question: "Question", count: str) -> str:
    """The same within a sentence."""
    heading = heading_of(question, count)
    return f"{heading[:1].lower()}{heading[1:]}"


def with_unit(question: "Question", number: str, count: str = "trips") -> str:
    """A number of the measure for people, with its unit."""
    unit = count if measure_of(question).is_count else measure_of(question).unit
    return f"{number}%" if unit == "%" else f"{number} {unit}"


def value_of(question: "Question", rows: Rows, days: int = 1) -> float | None:
    """The value of a group of trips: the average of the measure, or the trips per day of `days`."""
    if measure_of(question).is_count:
        return sum(row.num_trips for row in rows) / days if days else None
    numerator = sum(row.sum_numerator for row in rows)
    return measure_of(question).value(numerator, sum(row.sum_denominator for row in rows))


def measured_trips(  # noqa: PLR0913
    lake: "Snapshot",
    question: "Question",
    row: type[Any],
    keys: Mapping[str, str],
    *,
    order: str = "",
) -> "engines.Question[Any]":
    """The query of `measured_trips.sql`, for a question.

    row:   a NamedTuple with the keys and the four numbers of the query
    keys:  SQL over `trips` by the name of its column; no input from outside
    order: SQL after ORDER BY; the keys where it is empty
    """
    from taxi_shared import engines

    service = SERVICES[question.service]
    sql = QUERY.format(
        keys=",\n    ".join(f"{expression} AS {name}" for name, expression in keys.items()),
        group_by=", ".join(keys.values()),
        order_by=order or ", ".join(keys),
        side=question.side,
        trips=service.trips.name,
        days=service.days.name,
        **measure_of(question).sql(service.columns),
    )
    start, end = question.dates
    return engines.Question(
        "adhoc_request",
        sql,
        row,
        lake,
        [service.days, service.trips, ZONES],
        {
            "borough": question.borough,
            "zone": question.zone,
            "start_date": start,
            "end_date": end,
        },
        question.dates,
    )
