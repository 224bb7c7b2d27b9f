"""Taxi zones with their shapes."""

from collections.abc import Sequence
from typing import NamedTuple

from taxi_shared.io_managers import WGS_84, GeoDataFrame


class ZoneTrips(NamedTuple):
    """A row of `manhattan_stats.sql`: a zone's id, by its name, its shape as WKT, and its trips."""

    zone: str
    borough: str
    geometry: str | None
    num_trips: int


def merge_by_name(counts: Sequence[ZoneTrips]) -> GeoDataFrame:
    """Columns zone, borough, geometry, num_trips: a row per zone, sorted by name.

    counts: a row per zone id.
    Ids with the same name are one zone, whose shape is that of the ids that have one: TLC's
    103, 104 and 105 are the same islands, drawn under 103 alone.
    """
    import geopandas
    import pandas as pd

    frame = pd.DataFrame(counts, columns=ZoneTrips._fields)
    shapes = geopandas.GeoSeries.from_wkt(frame["geometry"], crs=WGS_84)
    zones = geopandas.GeoDataFrame(frame.assign(geometry=shapes)).dissolve(
        ["zone", "borough"], aggfunc={"num_trips": "sum"}, as_index=False
    )
    return zones[["zone", "borough", "geometry", "num_trips"]]
