"""The analytics location's resources: the lake's `database`, and I/O managers."""

from taxi_shared import settings
from taxi_shared.database import lake_database
from taxi_shared.io_managers import GeoJsonIOManager, PartitionedCsvIOManager, PngIOManager


def resources() -> dict[str, object]:
    """The location's resources, configured by the environment."""
    root = settings.for_resource("data_root")
    return {
        "database": lake_database(),
        "weekly_csv": PartitionedCsvIOManager(data_root=root, partition_column="period"),
        "geojson": GeoJsonIOManager(data_root=root),
        "png": PngIOManager(data_root=root),
    }
