"""What a report measures: trips, or a ratio of two sums over trips.

The average of a measure over any group of trips is the sum of its numerator over the sum of its
denominator, so averages of hours, days and zones come from the same query.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from math import floor, log10
from types import MappingProxyType

_THREE_DIGITS = 100
_COLUMN = re.compile(r"\btrips\.(\w+)")
_SECONDS = " + ".join(
    f"EXTRACT({part} FROM trips.{{event}}_datetime) * {seconds}"
    for part, seconds in (("HOUR", 3600), ("MINUTE", 60), ("SECOND", 1))
)
# A day at most, so the dates differ by a day or not at all. No function for the time between two
# moments is the same on all engines.
_DURATION = (
    f"({_SECONDS.format(event='dropoff')}) - ({_SECONDS.format(event='pickup')})"
    " + CASE WHEN CAST(trips.dropoff_datetime AS DATE) = trips.pickup_date THEN 0 ELSE 86400 END"
)
_LASTS = (
    "trips.dropoff_datetime > trips.pickup_datetime"
    " AND trips.dropoff_datetime < trips.pickup_datetime + INTERVAL '1' DAY"
)
_GOES = "trips.trip_distance > 0 AND trips.trip_distance <= 200"


@dataclass(frozen=True)
class Measure:
    """A measure, by its name in requests.

    title:       for people, as the heading of a column or axis
    unit:        of a value, for people; empty where the title says it
    numerator:   SQL over `trips`
    denominator: SQL over `trips`
    condition:   SQL: the trips that have a usable value; empty for all
    columns:     of the table of trips that the SQL needs
    optional:    more conditions, by a column that some services do not have
    excluded:    why the other trips are left out
    scale:       of a value: numerator / denominator * scale
    """

    name: str
    title: str
    unit: str
    numerator: str = "1"
    denominator: str = "1"
    condition: str = ""
    columns: tuple[str, ...] = ()
    optional: Mapping[str, str] = field(default_factory=dict)
    excluded: str = ""
    scale: int = 1

    @property
    def is_count(self) -> bool:
        """Whether it counts trips; the others are averages."""
        return not self.condition

    def value(self, numerator: Decimal | int, denominator: Decimal | int) -> float | None:
        """The average of a group of trips; None where no trip of it has a usable value."""
        return float(numerator * self.scale / denominator) if denominator else None

    def sql(self, names: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
        """Its parts for the placeholders of a query.

        names: of columns that have another name in the table; empty for one that it does not have
        """
        more = [sql for column, sql in self.optional.items() if names.get(column, column)]
        parts = {
            "numerator": self.numerator,
            "denominator": self.denominator,
            "condition": " AND ".join(filter(None, (self.condition, *more))) or "TRUE",
        }
        return {
            part: _COLUMN.sub(lambda found: f"trips.{names.get(found[1], found[1])}", sql)
            for part, sql in parts.items()
        }


MEASURES = {
    each.name: each
    for each in (
        Measure("trips", "Trips", ""),
        Measure(
            "fare",
            "Average fare",
            "US dollars",
            numerator="trips.fare_amount",
            condition="trips.fare_amount > 0",
            columns=("fare_amount",),
            excluded="Without a fare above zero: refunds and the like.",
        ),
        Measure(
            "tip_share",
            "Tip share of the fare",
            "%",
            numerator="trips.tip_amount",
            denominator="trips.fare_amount",
            condition="trips.fare_amount > 0 AND trips.tip_amount >= 0",
            columns=("tip_amount", "fare_amount"),
            optional={"payment_type": "trips.payment_type = 1"},
            excluded="Without a fare, or not paid by credit card where that is recorded: cash tips "
            "are not.",
            scale=100,
        ),
        Measure(
            "distance",
            "Average distance",
            "miles",
            numerator="trips.trip_distance",
            condition=_GOES,
            columns=("trip_distance",),
            excluded="With a distance of zero or over 200 miles.",
        ),
        Measure(
            "duration",
            "Average duration",
            "minutes",
            numerator=_DURATION,
            denominator="60",
            condition=_LASTS,
            columns=("pickup_datetime", "dropoff_datetime", "pickup_date"),
            excluded="Whose drop-off is not after the pickup, or a day or more after it.",
        ),
        Measure(
            "speed",
            "Average speed",
            "miles per hour",
            numerator="trips.trip_distance",
            denominator=_DURATION,
            condition=f"{_GOES} AND {_LASTS}",
            columns=("trip_distance", "pickup_datetime", "dropoff_datetime", "pickup_date"),
            excluded="Without a distance up to 200 miles and a duration under a day.",
            scale=3600,
        ),
    )
}
"""By name; the first is that of a request that names none."""


def number_format(numbers: Iterable[float | None]) -> str:
    """The format specification for numbers that are shown together: three digits of the largest."""
    known = [number for number in numbers if number is not None]
    largest = max(known, default=0)
    if (
        largest >= _THREE_DIGITS
        or largest <= 0
        or all(float(number).is_integer() for number in known)
    ):
        return ",.0f"
    return f",.{2 - floor(log10(largest))}f"
