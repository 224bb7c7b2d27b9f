"""TLC's services in ingestion: which are loaded, their months, and where files are stored."""

from datetime import datetime

from upath import UPath

from taxi_shared import settings
from taxi_shared.partitions import monthly
from taxi_shared.services import SERVICES, Service
from taxi_shared.storage import DataRoot


def chosen() -> tuple[Service, ...]:
    """The services that TAXI_SERVICES names, for which assets, jobs, sensors and checks exist."""
    names = settings.load().services
    return tuple(service for service in SERVICES if service.name in names)


def raw_file(service: Service, root: DataRoot, partition: str) -> UPath:
    """Where the file of a month is stored, as in `raw/taxi_trips_2023-03.parquet`."""
    return root.raw / f"{service.asset}_{partition[:7]}.parquet"


def raw_files(service: Service, root: DataRoot) -> list[UPath]:
    """The stored files of all months, oldest first."""
    return sorted(root.raw.glob(f"{service.asset}_*.parquet"), key=str)


def months_until(service: Service, now: datetime) -> list[str]:
    """The partitions of the months that have ended and that TLC publishes files for."""
    months = monthly().get_partition_keys(current_time=now)
    return [month for month in months if month[:7] >= service.first_month]
