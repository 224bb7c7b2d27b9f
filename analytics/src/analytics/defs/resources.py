"""The analytics location's resources: the lake's `database`, engines, and I/O managers."""

from taxi_shared import settings
from taxi_shared.database import lake_database
from taxi_shared.engines.choice import engines_of
from taxi_shared.io_managers import GeoJsonIOManager, PartitionedCsvIOManager, PngIOManager


def resources() -> dict[str, object]:
    """The location's resources, configured by the environment."""
    root = settings.for_resource("data_root")
    database = lake_database()
    return {
        "database": database,
        **engines_of(database, "trips_by_week", "manhattan_stats"),
        "weekly_csv": PartitionedCsvIOManager(data_root=root, partition_column="period"),
        "geojson": GeoJsonIOManager(data_root=root),
        "png": PngIOManager(data_root=root),
    }
