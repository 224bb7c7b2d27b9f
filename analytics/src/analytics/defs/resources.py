"""The analytics location's resources: the lake's `database`, and I/O managers."""

from analytics.defs.weekly import PERIOD
from analytics.lib.io_managers import GeoJson, LakeShapes, Png
from analytics.lib.rows_by_partition import RowsByPartitionCsv
from taxi_shared import settings
from taxi_shared.database import lake_database


def resources() -> dict[str, object]:
    """The location's resources, configured by the environment."""
    root = settings.for_resource(settings.DATA_ROOT)
    return {
        "database": lake_database(),
        "lake_shapes": LakeShapes(data_root=root),
        "weekly_csv": RowsByPartitionCsv(data_root=root, partition_column=PERIOD),
        "geojson": GeoJson(data_root=root),
        "png": Png(data_root=root),
    }
