"""The services of TLC that reports can be about, and how their tables differ."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from taxi_shared import services
from taxi_shared.tables import Table


@dataclass(frozen=True)
class Service:
    """A service: its name in requests, in words for people, and the table of its trips.

    columns: its names of the columns that measures use, where they differ; empty for one that it
             does not have
    """

    name: str
    title: str
    trips: Table
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def days(self) -> Table:
        """The days of its trips."""
        if self.trips.days is None:
            raise LookupError(f"{self.trips.name} has no table of days")
        return self.trips.days

    def lacks(self, columns: Collection[str]) -> list[str]:
        """Those columns that its trips do not have, or that no file of it fills."""
        found = {each.name for each in self.trips.columns if each.sources or each.expression}
        return [name for name in columns if self.columns.get(name, name) not in found]


SERVICES = {
    each.name: each
    for each in (
        Service("yellow", "Yellow taxi", services.YELLOW.table),
        Service("green", "Green taxi", services.GREEN.table),
        Service(
            "fhvhv",
            "High-volume for-hire",
            services.FHVHV.table,
            {"fare_amount": "base_passenger_fare", "payment_type": ""},
        ),
        Service("fhv", "For-hire vehicle", services.FHV.table),
    )
}
"""By name; the first is that of a request that names none."""
