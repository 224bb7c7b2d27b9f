"""TLC's services: the list from which assets, jobs, sensors, checks and samples are made.

Importable without Dagster, which the settings and the report portal do not load.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from taxi_shared.tables import (
    FHV_FIRST_MONTH,
    FHV_TRIPS,
    FHVHV_FIRST_MONTH,
    FHVHV_TRIPS,
    GREEN_FIRST_MONTH,
    GREEN_TRIPS,
    TRIPS,
    Table,
)

if TYPE_CHECKING:
    import dagster as dg


@dataclass(frozen=True)
class Service:
    """One of TLC's services, with the names of its files, assets, table and job.

    name:        in the names of TLC's files, as in `yellow_tripdata_2023-03.parquet`
    asset:       name of the asset of its table, as in `taxi_trips`
    table:       the table of the lake
    first_month: the month of the first file that TLC has published, as in `2009-01`
    job_prefix:  as in `trip_update_job`, `trip_update_schedule` and `trip_publication_sensor`
    description: whose trips they are, and what TLC does not publish of them
    """

    name: str
    asset: str
    table: Table
    first_month: str
    job_prefix: str
    description: str

    @property
    def table_asset(self) -> "dg.AssetKey":
        """The asset of the table, as in `taxi_trips`."""
        return _key(self.asset)

    @property
    def file_asset(self) -> "dg.AssetKey":
        """The asset of TLC's files, as in `taxi_trips_file`."""
        return _key(f"{self.asset}_file")

    @property
    def job_name(self) -> str:
        """The job that fetches and loads months of this service."""
        return f"{self.job_prefix}_update_job"


def _key(name: str) -> "dg.AssetKey":
    import dagster as dg

    return dg.AssetKey(name)


YELLOW = Service(
    name="yellow",
    asset="taxi_trips",
    table=TRIPS,
    first_month="2009-01",
    job_prefix="trip",
    description="Trips of yellow taxis.",
)
GREEN = Service(
    name="green",
    asset="green_trips",
    table=GREEN_TRIPS,
    first_month=GREEN_FIRST_MONTH,
    job_prefix="green",
    description="Trips of green taxis.",
)
FHV = Service(
    name="fhv",
    asset="fhv_trips",
    table=FHV_TRIPS,
    first_month=FHV_FIRST_MONTH,
    job_prefix="fhv",
    description="Trips of for-hire vehicles, such as livery and black cars. TLC publishes neither "
    "amounts nor distances of them, so none can be computed.",
)
FHVHV = Service(
    name="fhvhv",
    asset="fhvhv_trips",
    table=FHVHV_TRIPS,
    first_month=FHVHV_FIRST_MONTH,
    job_prefix="fhvhv",
    description="Trips of high-volume for-hire services, such as Uber and Lyft. TLC publishes no "
    "total amount; `total_amount` is the sum of its parts.",
)
# Assets, jobs, schedules, sensors and checks are made for each of these: another service is another
# entry, and the description of its table in `taxi_shared.tables`.
SERVICES = (YELLOW, GREEN, FHV, FHVHV)
NAMES = tuple(service.name for service in SERVICES)
