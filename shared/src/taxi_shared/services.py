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
    """

    name: str
    asset: str
    table: Table
    first_month: str
    job_prefix: str

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


YELLOW = Service("yellow", "taxi_trips", TRIPS, "2009-01", "trip")
GREEN = Service("green", "green_trips", GREEN_TRIPS, GREEN_FIRST_MONTH, "green")
FHV = Service("fhv", "fhv_trips", FHV_TRIPS, FHV_FIRST_MONTH, "fhv")
FHVHV = Service("fhvhv", "fhvhv_trips", FHVHV_TRIPS, FHVHV_FIRST_MONTH, "fhvhv")
SERVICES = (YELLOW, GREEN, FHV, FHVHV)
NAMES = tuple(service.name for service in SERVICES)
