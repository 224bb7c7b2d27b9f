"""The taxi zones and their table: one row per id, from a source that repeats and omits some.

The zones file has LocationID 56 twice (Corona) and 103 three times (Governors, Ellis and Liberty
Island): TLC's ids 57, 104 and 105 under a neighbour's number. Trips carry all of them, and 264 and
265 for pickups that are unknown or outside New York.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

import duckdb

from ingestion.lib.checks import check_columns
from taxi_shared.lake import Lake, Rows
from taxi_shared.tables import ZONES

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
    """Unite the shapes of rows with the same id, add the ids that are missing, and sort by id.

    `lookup` has the rows of TLC's lookup: the service zone of every id, and the name and borough
    of the ids that `rows` lacks.
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


def load_zones(con: duckdb.DuckDBPyConnection) -> list[Zone]:
    """Load the zones of the lake, which has to be connected with the table `zones`.

    A file of an older release may lack a column: its values are None.
    """
    view = con.table(ZONES.name)
    columns = [
        name if name in view.columns else f"CAST(NULL AS VARCHAR) AS {name}"
        for name in ("zone_id", "zone", "borough", "geometry", "service_zone")
    ]
    return [Zone(*row) for row in view.project(", ".join(columns)).fetchall()]


def write_zones(
    con: duckdb.DuckDBPyConnection, lake: Lake, zones: list[Zone], publisher: str = ""
) -> None:
    """Replace the table `zones`; a column without values has its type all the same.

    Raises SchemaMismatch where the new file has other columns than the table's description; the
    lake then keeps the zones that it had.
    """
    columns = ", ".join(f"CAST(z.{c.name} AS {c.type}) AS {c.name}" for c in ZONES.columns)
    # Only the names and types of our own table enter.
    query = f"SELECT {columns} FROM (SELECT UNNEST($zones) AS z) ORDER BY zone_id"  # noqa: S608
    rows = Rows(query, {"zones": [vars(z) for z in zones]}, publisher=publisher)
    with lake.replacement([ZONES]) as new:
        new.write(con, ZONES, rows)
        check_columns(con, new.file(ZONES), ZONES, shown=lake.root.staging / ZONES.name)


def _merge(rows: list[Zone]) -> Zone:
    first = rows[0]
    shapes = [row.geometry for row in rows if row.geometry]
    if not shapes[1:]:  # none or one, as it is
        return replace(first, geometry=next(iter(shapes), None))
    import shapely

    # One call per shape: an array of texts would give each the room of the longest.
    union = shapely.union_all([shapely.from_wkt(shape) for shape in shapes])
    return replace(first, geometry=shapely.to_wkt(union.normalize(), rounding_precision=-1))
