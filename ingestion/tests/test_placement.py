"""Points get the zone that a point-in-polygon test on the shapes gives, at the borders too."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import shapely
from upath import UPath

from ingestion.lib import loading, placement
from ingestion.lib.zone_csv import read_zones
from ingestion.lib.zones import Zone, merge_duplicate_zones, write_zones
from taxi_shared.database import LakeDatabase
from taxi_shared.tables import TRIPS

from .layouts import parquet, with_column, yellow_2009

LEFT = Zone(7, "Left", "Queens", "POLYGON ((-74 40.7, -73.9 40.7, -73.9 40.8, -74 40.8, -74 40.7))")
RIGHT = Zone(
    5, "Right", "Queens", "POLYGON ((-73.9 40.7, -73.8 40.7, -73.8 40.8, -73.9 40.8, -73.9 40.7))"
)
OVERLAP = Zone(
    9, "Over", "Queens", "POLYGON ((-73.95 40.75, -73.85 40.75, -73.85 40.85, -73.95 40.75))"
)

PARALLEL = {"threads": 4, "preserve_insertion_order": False}
# Longitudes and latitudes, as arrays or as lists with None.
Points = tuple[Sequence[float | None] | np.ndarray[Any, np.dtype[np.float64]], ...]


@pytest.fixture
def database(tmp_path: Path) -> LakeDatabase:
    return LakeDatabase(data_root=str(tmp_path))


def place(database: LakeDatabase, zones: list[Zone], points: Points) -> list[int | None]:
    """The pickup zones of points, through the load of a month that does not keep their order."""
    with database.get_connection() as con:
        write_zones(con, database.lake, zones)
    longitudes, latitudes = points
    count = len(longitudes)
    trip = yellow_2009(rows=1)
    content = pa.table(
        {
            name: pa.concat_arrays([trip.column(name).combine_chunks()] * count)
            for name in trip.column_names
        }
    )
    number = np.arange(count, dtype=float)
    columns = {"Start_Lon": longitudes, "Start_Lat": latitudes, "Total_Amt": number}
    for name, values in columns.items():
        content = with_column(content, name, pa.array(values))
    file = UPath(database.data_root) / "points.parquet"
    file.write_bytes(parquet(content, row_group_size=500))
    with database.get_connection(options=PARALLEL) as con:
        loading.load(con, database.lake, TRIPS, loading.MonthFile("2009-06-01", file))
    with database.get_connection() as con:
        found = con.execute("SELECT pickup_zone_id FROM trips ORDER BY total_amount").fetchall()
        return [zone for (zone,) in found]


def real_zones(real_files: Path) -> list[Zone]:
    return merge_duplicate_zones(read_zones(UPath(real_files / "misc" / "taxi_zones.csv")).zones)


def smallest_intersecting(zones: list[Zone], points: Points) -> list[int | None]:
    """The smallest id of the zones that intersect each point: every zone against every point."""
    longitudes, latitudes = points
    found: list[int | None] = [None] * len(longitudes)
    for zone in sorted(zones, key=lambda zone: -zone.zone_id):
        if zone.geometry:
            shape = shapely.from_wkt(zone.geometry)
            shapely.prepare(shape)
            for index in np.flatnonzero(shapely.intersects_xy(shape, longitudes, latitudes)):
                found[index] = zone.zone_id
    return found


def test_point_on_borders_gets_the_smallest_id(database: LakeDatabase) -> None:
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
    assert place(database, [LEFT, RIGHT, OVERLAP], (longitudes, latitudes)) == list(points.values())


@pytest.mark.parametrize("cores", [1, 3, 16])
def test_batches_and_threads_do_not_change_the_zones(
    database: LakeDatabase, monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    random = np.random.default_rng(1)
    longitudes, latitudes = random.uniform(-74.02, -73.78, 200), random.uniform(40.68, 40.86, 200)
    zones = [LEFT, RIGHT, OVERLAP]
    expected = smallest_intersecting(zones, (longitudes, latitudes))
    monkeypatch.setattr(placement, "ROWS_PER_SHARE", placement.ROWS_PER_BLOCK)
    monkeypatch.setattr(placement, "LEAST_SHARES", 1)
    monkeypatch.setattr(placement, "cores", lambda: cores)
    assert place(database, zones, (longitudes, latitudes)) == expected
    assert set(expected) == {None, 5, 7, 9}


def test_points_at_real_borders_equal_a_test_of_every_zone(
    database: LakeDatabase, real_files: Path
) -> None:
    zones = real_zones(real_files)
    corners = shapely.get_coordinates(shapely.from_wkt([z.geometry for z in zones if z.geometry]))
    random = np.random.default_rng(2)
    chosen = corners[random.integers(0, len(corners), 20_000)]
    # A corner itself, one float beside it, a hair, a metre, a block and a borough away.
    away = random.choice([0.0, 1e-14, 1e-9, 1e-5, 1e-3, 1e-1], 20_000)
    longitudes, latitudes = (chosen + random.normal(size=chosen.shape) * away[:, None]).T
    expected = smallest_intersecting(zones, (longitudes, latitudes))
    assert place(database, zones, (longitudes, latitudes)) == expected
    assert sum(zone is None for zone in expected) > 1000


def test_placement_needs_neither_pandas_nor_pyarrow(tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules["pandas"] = sys.modules["pyarrow"] = sys.modules["geopandas"] = None
from ingestion.lib import loading
from ingestion.lib.zones import Zone, write_zones
from taxi_shared.database import LakeDatabase
from taxi_shared.tables import TRIPS
from upath import UPath
database = LakeDatabase(data_root={str(tmp_path)!r})
with database.get_connection() as con:
    write_zones(con, database.lake, [Zone(7, "", "", {LEFT.geometry!r})])
file = loading.MonthFile("2009-06-01", UPath({str(tmp_path / "points.parquet")!r}))
with database.get_connection() as con:
    loading.load(con, database.lake, TRIPS, file)
with database.get_connection() as con:
    print(con.execute("SELECT pickup_zone_id, dropoff_zone_id FROM trips").fetchall())
"""
    (tmp_path / "points.parquet").write_bytes(parquet(yellow_2009()))
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert found.stdout == "[(7, None), (None, 7), (None, None), (None, None)]\n", found.stderr
