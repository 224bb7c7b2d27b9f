"""TLC's services: what the platform loads of each of them, and under which names."""

from dataclasses import dataclass
from datetime import datetime

import dagster as dg
from upath import UPath

from taxi_shared.partitions import monthly
from taxi_shared.storage import DataRoot
from taxi_shared.tables import Table


@dataclass(frozen=True)
class Service:
    """One of TLC's services, with the names of its files, assets, table and job.

    name:        in the names of TLC's files, as in `yellow_tripdata_2023-03.parquet`
    asset:       name of the asset of its table, as in `taxi_trips`
    table:       the table of the lake
    first_month: the month of the first file that TLC has published, as in `2009-01`
    job_prefix:  as in `trip_update_job`, `trip_update_schedule` and `trip_publication_sensor`
    other_assets: assets that its job materializes too, as in `taxi_zones`
    """

    name: str
    asset: str
    table: Table
    first_month: str
    job_prefix: str
    other_assets: tuple[dg.AssetKey, ...] = ()

    @property
    def table_asset(self) -> dg.AssetKey:
        """The asset of the table, as in `taxi_trips`."""
        return dg.AssetKey(self.asset)

    @property
    def file_asset(self) -> dg.AssetKey:
        """The asset of TLC's files, as in `taxi_trips_file`."""
        return dg.AssetKey(f"{self.asset}_file")

    @property
    def job_name(self) -> str:
        """The job that fetches and loads months of this service."""
        return f"{self.job_prefix}_update_job"

    def raw_file(self, root: DataRoot, partition: str) -> UPath:
        """Where the file of a month is stored, as in `raw/taxi_trips_2023-03.parquet`."""
        return root.raw / f"{self.asset}_{partition[:7]}.parquet"

    def raw_files(self, root: DataRoot) -> list[UPath]:
        """The stored files of all months, oldest first."""
        return sorted(root.raw.glob(f"{self.asset}_*.parquet"), key=str)

    def months_until(self, now: datetime) -> list[str]:
        """The partitions of the months that have ended and that TLC publishes files for."""
        months = monthly().get_partition_keys(current_time=now)
        return [month for month in months if month[:7] >= self.first_month]
