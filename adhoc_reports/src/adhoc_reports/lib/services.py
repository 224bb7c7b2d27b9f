"""The services of TLC that reports can be about, and the tables of their trips."""

from collections.abc import Collection
from dataclasses import dataclass

from taxi_shared.tables import GREEN_TRIPS, TRIPS, Table


@dataclass(frozen=True)
class Service:
    """A service: its name in requests, in words for people, and the table of its trips."""

    name: str
    title: str
    trips: Table

    @property
    def days(self) -> Table:
        """The days of its trips."""
        if self.trips.days is None:
            raise LookupError(f"{self.trips.name} has no table of days")
        return self.trips.days

    def lacks(self, columns: Collection[str]) -> list[str]:
        """Those columns that its trips do not have, or that no file of it fills."""
        found = {each.name: each for each in self.trips.columns}
        return [
            name
            for name in columns
            if name not in found or not (found[name].sources or found[name].expression)
        ]


SERVICES = {
    each.name: each
    for each in (
        Service("yellow", "Yellow taxi", TRIPS),
        Service("green", "Green taxi", GREEN_TRIPS),
    )
}
"""By name; the first is that of a request that names none."""
