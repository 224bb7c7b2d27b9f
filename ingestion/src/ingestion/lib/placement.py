"""Taxi zones of points, the same as a point-in-polygon test on the zones' shapes gives.

A point is in the zone whose shape it lies in or on the border of; on the border of several (or
where shapes overlap) in that with the smallest id; outside all of them in none.

Most points are settled by a grid: a cell that one zone covers, and no other touches, is that
zone's. The exact test is left for points in cells that a border runs through. A cell's edges are
multiples of a power of two, so that a point's cell is computed without rounding.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import duckdb
from upath import UPath

from taxi_shared.lake import parquet_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Finer cells leave fewer points to the exact test, and make a larger grid. 2 ** 11 a degree is some
# 50 m: 360,000 cells in 2 s. A quarter of the points is left, for cabs stop in streets, and streets
# are borders.
FINEST, COARSEST = 11, 5
CELLS_PER_DEGREE = 2**FINEST
ROW_OF_CELLS = 2**20  # more than the cells from pole to pole: a cell's number is unique
ROWS_AT_ONCE = 1_000_000  # keeps memory the same for a month of any size


class ZonesMissing(Exception):
    """The table of zones, which points are placed by, has no shapes."""


@dataclass(frozen=True)
class Placement:
    """A column of zone ids that the columns of a point's longitude and latitude tell."""

    column: str
    longitude: str
    latitude: str

    @property
    def expression(self) -> str:
        """The zone's id, in a query that has `joins`."""
        return f"COALESCE({self.column}_cell.zone_id, {self.column}_border.zone_id)"

    @property
    def joins(self) -> str:
        """To the tables that `placed` makes, for a query on rows `trip` with `file_row_number`."""
        return (
            f"LEFT JOIN zone_cells AS {self.column}_cell ON {self.column}_cell.cell = {self.cell} "
            f"LEFT JOIN {self.column}_borders AS {self.column}_border "
            f"ON {self.column}_border.file_row_number = trip.file_row_number"
        )

    @property
    def cell(self) -> str:
        """The number of the cell of a point of a row `trip`; NULL where it is not on the globe."""
        longitude, latitude = f"trip.{self.longitude}", f"trip.{self.latitude}"
        return (
            f"CASE WHEN {longitude} BETWEEN -180 AND 180 AND {latitude} BETWEEN -90 AND 90 "
            f"THEN CAST(FLOOR({longitude} * {CELLS_PER_DEGREE}) AS BIGINT) * {ROW_OF_CELLS} "
            f"+ CAST(FLOOR({latitude} * {CELLS_PER_DEGREE}) AS BIGINT) END"
        )


@dataclass(frozen=True)
class ZoneShapes:
    """The zones that have a shape, by id; shapes as WKT in longitude and latitude."""

    ids: tuple[int, ...]
    shapes: tuple[str, ...]

    @classmethod
    def of(cls, con: duckdb.DuckDBPyConnection) -> "ZoneShapes":
        """Those of the view `zones`. Raises ZonesMissing where it has none."""
        rows = con.execute(
            "SELECT zone_id, geometry FROM zones WHERE geometry IS NOT NULL ORDER BY zone_id"
        ).fetchall()
        if not rows:
            raise ZonesMissing(
                "trips have points instead of zones, and there are no taxi zones to place them in: "
                "materialize taxi_zones, then this month again"
            )
        return cls(*zip(*rows, strict=True))

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(repr(self).encode()).hexdigest()


@dataclass(frozen=True)
class Grid:
    """Cells by number. `of_one_zone`: cell, zone_id; `at_borders`: cell, and each zone_id near."""

    of_one_zone: "dict[str, NDArray]"
    at_borders: "dict[str, NDArray]"


@contextmanager
def placed(
    con: duckdb.DuckDBPyConnection,
    zones: ZoneShapes,
    placements: Sequence[Placement],
    file: UPath,
    rows: str,
    points: str,
) -> Iterator[str]:
    """The rows of a file, placed, as Parquet files that are there during the block: their pattern.

    `rows` and `points` are queries with the parameters `$file`, `$first` and `$end` (row numbers):
    of rows, by the placements' SQL, and of their `file_row_number`, longitudes and latitudes.
    """
    with TemporaryDirectory(prefix="taxi-placed-") as folder:
        _create_grid(con, zones)
        for first in range(0, max(1, parquet_rows(con, file)), ROWS_AT_ONCE):
            part = {"file": str(file), "first": first, "end": first + ROWS_AT_ONCE}
            for placement in placements:
                _create_borders(con, zones, placement, points, part)
            target = f"{folder}/{first:012}.parquet"
            con.execute(f"COPY ({rows}) TO $target (FORMAT parquet)", {**part, "target": target})
        for table in ("zone_cells", "border_cells", *(f"{p.column}_borders" for p in placements)):
            con.execute(f"DROP TABLE IF EXISTS temp.{table}")
        yield f"{folder}/*.parquet"


def _create_grid(con: duckdb.DuckDBPyConnection, zones: ZoneShapes) -> None:
    """`zone_cells`: the zone of each cell that is one zone's; `border_cells`: cells, zones near."""
    grid = _grid(zones)
    _create(con, "zone_cells", grid.of_one_zone, "SELECT cell, zone_id FROM given")
    _create(con, "border_cells", grid.at_borders, "SELECT cell, zone_id FROM given")


def _create_borders(
    con: duckdb.DuckDBPyConnection,
    zones: ZoneShapes,
    placement: Placement,
    points: str,
    parameters: Mapping[str, object],
) -> None:
    """`<column>_borders`: the zone, by the exact test, of each point in a cell with a border."""
    near = con.execute(
        f"SELECT trip.file_row_number, trip.{placement.longitude} AS longitude, "
        f"trip.{placement.latitude} AS latitude, border_cells.zone_id FROM ({points}) AS trip "
        f"JOIN border_cells ON border_cells.cell = {placement.cell}",
        parameters,
    ).fetchnumpy()
    inside = _is_inside(zones, near["zone_id"], near["longitude"], near["latitude"])
    _create(
        con,
        f"{placement.column}_borders",
        {name: near[name][inside] for name in ("file_row_number", "zone_id")},
        "SELECT file_row_number, min(zone_id) AS zone_id FROM given GROUP BY file_row_number",
    )


def _create(
    con: duckdb.DuckDBPyConnection, table: str, given: "dict[str, NDArray]", query: str
) -> None:
    con.register("given", given)
    con.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS {query}")
    con.unregister("given")


def _is_inside(
    zones: ZoneShapes, zone_ids: "NDArray", longitudes: "NDArray", latitudes: "NDArray"
) -> "NDArray":
    """Whether each point lies in its zone or on its border: the exact test."""
    import numpy as np
    import shapely

    inside = np.zeros(len(zone_ids), dtype=bool)
    by_zone = np.argsort(zone_ids, kind="stable")
    starts = np.searchsorted(zone_ids[by_zone], zones.ids)
    for shape, rows in zip(_geometries(zones), np.split(by_zone, starts)[1:], strict=True):
        inside[rows] = shapely.intersects_xy(shape, longitudes[rows], latitudes[rows])
    return inside


@lru_cache(maxsize=1)
def _geometries(zones: ZoneShapes) -> Any:
    import numpy as np
    import shapely

    # As objects: an array of texts would give each the room of the longest, 300 MB.
    shapes = shapely.from_wkt(np.array(zones.shapes, dtype=object))
    shapely.prepare(shapes)
    return shapes


@lru_cache(maxsize=1)  # the months of a run are placed by the same zones
def _grid(zones: ZoneShapes) -> Grid:
    """The cells that zones touch.

    Squares are quartered until one zone covers them, none touches them, or they are a cell.
    """
    import numpy as np
    import shapely

    shapes, ids = _geometries(zones), np.array(zones.ids, dtype=np.int32)
    west, south, east, north = np.floor(shapely.total_bounds(shapes) * 2**COARSEST)
    x, y = (
        axis.ravel() for axis in np.meshgrid(np.arange(west, east + 1), np.arange(south, north + 1))
    )
    cells: list[NDArray] = []
    owners: list[NDArray] = []
    for level in range(COARSEST, FINEST + 1):
        side = 2.0**-level
        squares = shapely.STRtree(shapely.box(x * side, y * side, (x + 1) * side, (y + 1) * side))
        near, touched = squares.query(shapes, predicate="intersects")
        touches = np.bincount(touched, minlength=len(x))
        owner, covered = squares.query(shapes, predicate="covers")
        alone = touches[covered] == 1
        owner, covered = owner[alone], covered[alone]
        numbers = _cells_of(x[covered], y[covered], 2 ** (FINEST - level))
        cells.append(numbers.ravel())
        owners.append(np.repeat(ids[owner], numbers.shape[1]))
        bordered = touches > 0
        bordered[covered] = False
        if level < FINEST:
            x = (2 * x[bordered, None] + [0, 1, 0, 1]).ravel()
            y = (2 * y[bordered, None] + [0, 0, 1, 1]).ravel()
    at_border = bordered[touched]
    near, touched = near[at_border], touched[at_border]
    return Grid(
        {"cell": np.concatenate(cells), "zone_id": np.concatenate(owners)},
        {"cell": _cells_of(x[touched], y[touched], 1).ravel(), "zone_id": ids[near]},
    )


def _cells_of(x: "NDArray", y: "NDArray", parts: int) -> "NDArray":
    """The numbers of the cells in squares of `parts` by `parts` cells, a row for each square."""
    import numpy as np

    along, up = (axis.ravel() for axis in np.meshgrid(np.arange(parts), np.arange(parts)))
    numbers = (x[:, None] * parts + along) * ROW_OF_CELLS + (y[:, None] * parts + up)
    return numbers.astype(np.int64)
