"""Trips by taxi zone."""

from collections.abc import Mapping

from analytics.lib.frames import GeoDataFrame


def trips_by_zone(zones: GeoDataFrame, trips: Mapping[int, int], borough: str) -> GeoDataFrame:
    """Columns zone, borough, geometry, num_trips: a row for each zone of a borough, by name.

    zones: zone_id, zone, borough, geometry; trips: the number of trips by zone_id.
    Ids with the same name are one zone, whose shape is that of the ids that have one: TLC's
    103, 104 and 105 are the same islands, drawn under 103 alone. A zone without trips has 0.
    """
    of_borough = zones[zones["borough"] == borough]
    counted = of_borough.assign(
        num_trips=[trips.get(zone_id, 0) for zone_id in of_borough["zone_id"]]
    )
    united = counted.drop(columns="zone_id").dissolve(
        ["zone", "borough"], aggfunc={"num_trips": "sum"}, as_index=False
    )
    return united[["zone", "borough", "geometry", "num_trips"]]
