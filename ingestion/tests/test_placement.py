"""Points get the zone that a point-in-polygon test on the shapes gives, at the borders too."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import shapely
from upath import UPath

from ingestion.defs.zones import write_zones
from ingestion.lib import months, placement
from ingestion.lib.shapes import Zone, merge_duplicate_zones
from ingestion.lib.zone_csv import read_zones
from taxi_shared.database import LakeDatabase
from taxi_shared.tables import TRIPS

from .layouts import parquet, yellow_2009

LEFT = Zone(7, "Left", "Queens", "POLYGON ((-74 40.7, -73.9 40.7, -73.9 40.8, -74 40.8, -74 40.7))")
RIGHT = Zone(
    5, "Right", "Queens", "POLYGON ((-73.9 40.7, -73.8 40.7, -73.8 40.8, -73.9 40.8, -73.9 40.7))"
)
OVERLAP = Zone(
    9, "Over", "Queens", "POLYGON ((-73.95 40.75, -73.85 40.75, -73.85 40.85, -73.95 40.75))"
)


@pytest.fixture
def database(tmp_path):
    return LakeDatabase(data_root=str(tmp_path))


def place(database: LakeDatabase, zones: list[Zone], longitudes, latitudes) -> list[int | None]:
    """The pickup zones of points, through the load of a month."""
    with database.get_connection() as con:
        write_zones(con, database.lake, zones)
    count = len(longitudes)
    trip = yellow_2009(rows=1)
    content = pa.table(
        {
            name: pa.concat_arrays([trip.column(name).combine_chunks()] * count)
            for name in trip.column_names
        }
    )
    for name, values in (("Start_Lon", longitudes), ("Start_Lat", latitudes)):
        content = content.set_column(content.column_names.index(name), name, pa.array(values))
    file = UPath(database.data_root) / "points.parquet"
    file.write_bytes(parquet(content))
    with database.get_connection() as con:
        months.load(con, database.lake, TRIPS, months.Source("2009-06-01", "", file), "")
    with database.get_connection() as con:
        return [zone for (zone,) in con.execute("SELECT pickup_zone_id FROM trips").fetchall()]


def real_zones(database: LakeDatabase, real_files) -> list[Zone]:
    return merge_duplicate_zones(read_zones(UPath(real_files / "misc" / "taxi_zones.csv")).zones)


def one_zone_after_another(zones: list[Zone], longitudes, latitudes) -> list[int | None]:
    """The smallest id of the zones that intersect each point: every zone against every point."""
    found: list[int | None] = [None] * len(longitudes)
    for zone in sorted(zones, key=lambda zone: -zone.zone_id):
        if zone.geometry:
            shape = shapely.from_wkt(zone.geometry)
            shapely.prepare(shape)
            for index in np.flatnonzero(shapely.intersects_xy(shape, longitudes, latitudes)):
                found[index] = zone.zone_id
    return found


def test_a_point_on_a_border_gets_the_smallest_id_of_the_zones_that_touch_it(database):
    points = {
        (-73.95, 40.72): 7,
        (-73.85, 40.72): 5,
        (-73.9, 40.72): 5,  # on the border of both
        (-74.0, 40.7): 7,  # a corner
        (-74.0 - 1e-13, 40.7): None,
        (-73.9, 40.8): 5,
        (-73.9 - 1e-13, 40.72): 7,
        (-73.88, 40.79): 5,  # where a zone overlaps another
        (-73.88, 40.8 + 1e-13): 9,
        (0.0, 0.0): None,
        (float("nan"), 40.72): None,
        (1e300, -1e300): None,
        (None, None): None,
    }
    longitudes, latitudes = zip(*points, strict=True)
    assert place(database, [LEFT, RIGHT, OVERLAP], longitudes, latitudes) == list(points.values())


def test_a_month_in_many_parts_is_the_same(database, monkeypatch):
    random = np.random.default_rng(1)
    longitudes, latitudes = random.uniform(-74.02, -73.78, 50), random.uniform(40.68, 40.86, 50)
    zones = [LEFT, RIGHT, OVERLAP]
    expected = one_zone_after_another(zones, longitudes, latitudes)
    monkeypatch.setattr(placement, "ROWS_PER_BATCH", 7)
    assert place(database, zones, longitudes, latitudes) == expected
    assert set(expected) == {None, 5, 7, 9}


def test_points_around_tlc_s_own_borders_equal_the_test_on_the_shapes(database, real_files):
    zones = real_zones(database, real_files)
    corners = shapely.get_coordinates(shapely.from_wkt([z.geometry for z in zones if z.geometry]))
    random = np.random.default_rng(2)
    chosen = corners[random.integers(0, len(corners), 20_000)]
    # A corner itself, one float beside it, a hair, a metre, a block and a borough away.
    away = random.choice([0.0, 1e-14, 1e-9, 1e-5, 1e-3, 1e-1], 20_000)
    longitudes, latitudes = (chosen + random.normal(size=chosen.shape) * away[:, None]).T
    expected = one_zone_after_another(zones, longitudes, latitudes)
    assert place(database, zones, longitudes, latitudes) == expected
    assert sum(zone is None for zone in expected) > 1000


def test_points_are_placed_without_pandas_and_pyarrow(tmp_path):
    code = f"""
import sys
sys.modules["pandas"] = sys.modules["pyarrow"] = sys.modules["geopandas"] = None
from ingestion.lib import months
from ingestion.defs.zones import write_zones
from ingestion.lib.shapes import Zone
from taxi_shared.database import LakeDatabase
from taxi_shared.tables import TRIPS
from upath import UPath
database = LakeDatabase(data_root={str(tmp_path)!r})
with database.get_connection() as con:
    write_zones(con, database.lake, [Zone(7, "", "", {LEFT.geometry!r})])
source = months.Source("2009-06-01", "", UPath({str(tmp_path / "points.parquet")!r}))
with database.get_connection() as con:
    months.load(con, database.lake, TRIPS, source, "")
with database.get_connection() as con:
    print(con.execute("SELECT pickup_zone_id, dropoff_zone_id FROM trips").fetchall())
"""
    (tmp_path / "points.parquet").write_bytes(parquet(yellow_2009()))
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout == "[(7, None), (None, 7), (None, None), (None, None)]\n", found.stderr
