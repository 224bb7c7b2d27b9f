"""The taxi zones: one row per id, from a source that repeats some and leaves some out.

The zones file has LocationID 56 twice (Corona) and 103 three times (Governors, Ellis and Liberty
Island): TLC's ids 57, 104 and 105 under a neighbour's number. Trips carry all of them, and 264 and
265 for pickups that are unknown or outside New York.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

ZONE_IDS = range(1, 266)
ISLANDS = "Governor's Island/Ellis Island/Liberty Island"


@dataclass(frozen=True)
class Zone:
    """A taxi zone; geometry is WKT in longitude and latitude, None where the zone has no shape.

    service_zone is None where TLC's lookup does not have it.
    """

    zone_id: int
    zone: str
    borough: str
    geometry: str | None
    service_zone: str | None = None


WITHOUT_SHAPE = (
    Zone(57, "Corona", "Queens", None),
    Zone(104, ISLANDS, "Manhattan", None),
    Zone(105, ISLANDS, "Manhattan", None),
    Zone(264, "Unknown", "Unknown", None),
    Zone(265, "Outside of NYC", "Unknown", None),
)


def merge_duplicate_zones(rows: Iterable[Zone], lookup: Iterable[Zone] = ()) -> list[Zone]:
    """Unite the shapes of rows with the same id, add the ids the source leaves out, sort by id.

    `lookup` has the rows of TLC's lookup: the service zone of every id, and the name and borough
    of the ids that `rows` leaves out.
    """
    by_id: dict[int, list[Zone]] = defaultdict(list)
    for row in rows:
        by_id[row.zone_id].append(row)
    looked_up = {zone.zone_id: zone for zone in lookup}
    for zone in (*looked_up.values(), *WITHOUT_SHAPE):
        by_id.setdefault(zone.zone_id, [zone])
    merged = (_merge(by_id[zone_id]) for zone_id in sorted(by_id))
    return [
        replace(zone, service_zone=looked_up[zone.zone_id].service_zone)
        if zone.zone_id in looked_up
        else zone
        for zone in merged
    ]


def _merge(rows: list[Zone]) -> Zone:
    first = rows[0]
    shapes = [row.geometry for row in rows if row.geometry]
    if len(shapes) < 2:
        return replace(first, geometry=next(iter(shapes), None))
    import shapely

    # One call per shape: an array of texts would give each the room of the longest.
    union = shapely.union_all([shapely.from_wkt(shape) for shape in shapes])
    return replace(first, geometry=shapely.to_wkt(union.normalize(), rounding_precision=-1))
