"""Taxi zones with their shapes."""

from taxi_shared.io_managers import WGS_84, DataFrame, GeoDataFrame


def merge_by_name(counts: DataFrame) -> GeoDataFrame:
    """Columns zone, borough, geometry, num_trips: a row per zone, sorted by name.

    counts: the same columns with a row per zone id, geometry as WKT or None.
    Ids with the same name are one zone, whose shape is that of the ids that have one: TLC's
    103, 104 and 105 are the same islands, drawn under 103 alone.
    """
    import geopandas

    shapes = geopandas.GeoSeries.from_wkt(counts["geometry"], crs=WGS_84)
    zones = geopandas.GeoDataFrame(counts.assign(geometry=shapes)).dissolve(
        ["zone", "borough"], aggfunc={"num_trips": "sum"}, as_index=False
    )
    return zones[["zone", "borough", "geometry", "num_trips"]]
