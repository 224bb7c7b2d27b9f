"""Taxi zones of points, the same as a point-in-polygon test on the zones' shapes gives.

A point is in the zone whose shape it lies in or on the border of; on the border of several (or
where shapes overlap) in that with the smallest id; outside all of them in none.

Most points are settled by a grid: a cell that one zone covers, and no other touches, is that
zone's. The exact test is left for points in cells that a border runs through. A cell's edges are
multiples of a power of two, so that a point's cell is computed without rounding.
"""

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import duckdb

from taxi_shared.lake import Lake
from taxi_shared.storage import literal
from taxi_shared.tables import ZONES

if TYPE_CHECKING:
    # Imported by the functions that use them: only months of 2009 and 2010 have points.
    from numpy.typing import NDArray

# Finer cells leave fewer points to the exact test, and make a larger grid. 2 ** 11 a degree is some
# 50 m: a million cells in 0.6 s. A sixth of the points is left, for cabs stop in streets, and
# streets are borders.
FINEST, COARSEST = 11, 5
CELLS_PER_DEGREE = 2**FINEST
AT_BORDER = -1
ROWS_AT_ONCE = 500_000  # keeps memory the same for a month of any size
# Months are loaded side by side, and GEOS completes a prepared shape when it is first used.
_one_at_a_time = threading.Lock()


class ZonesMissing(Exception):
    """The table of zones, which points are placed by, has no shapes."""


@dataclass(frozen=True)
class Placement:
    """A column of zone ids that the columns of a point's longitude and latitude tell."""

    column: str
    longitude: str
    latitude: str


@dataclass(frozen=True)
class ZoneShapes:
    """The zones that have a shape, by id; shapes as WKT in longitude and latitude."""

    ids: tuple[int, ...]
    shapes: tuple[str, ...]

    @classmethod
    def of(cls, con: duckdb.DuckDBPyConnection, lake: Lake) -> "ZoneShapes":
        """Those of the lake's table. Raises ZonesMissing where it has none."""
        rows: list[Any] = []
        if (path := lake.file(ZONES)).is_file():
            rows = con.execute(
                "SELECT zone_id, geometry FROM read_parquet($file, hive_partitioning = false) "
                "WHERE geometry IS NOT NULL ORDER BY zone_id",
                {"file": literal(path)},
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
    """Which zones a cell may belong to.

    west, south: number of the first cell of `owner`, counted from 0 degrees
    owner:       by column and row of cells: the id of the zone that has the cell to itself, 0 where
                 no zone is near, AT_BORDER
    border_cells, border_zones: each cell at a border and each zone that touches it, by cell; a cell
                 is its index in `owner`, flattened
    """

    west: int
    south: int
    owner: "NDArray"
    border_cells: "NDArray"
    border_zones: "NDArray"


def place(
    con: duckdb.DuckDBPyConnection,
    zones: ZoneShapes,
    placements: Sequence[Placement],
    points: str,
    file: str,
    rows: int,
) -> "dict[str, NDArray]":
    """The zone ids of each placement's column, in the order of the file's rows; 0 for none.

    `points` is a query of the longitudes and latitudes with the parameters `$file`, `$first` and
    `$end` (row numbers).
    """
    import numpy as np

    placed = {p.column: np.zeros(rows, np.int16) for p in placements}
    for first in range(0, rows, ROWS_AT_ONCE):
        end = min(first + ROWS_AT_ONCE, rows)
        part = con.execute(points, {"file": file, "first": first, "end": end}).fetchnumpy()
        for p in placements:
            axes = (np.ma.filled(part[axis], np.nan) for axis in (p.longitude, p.latitude))
            with _one_at_a_time:
                placed[p.column][first:end] = zones_of(zones, *axes)
    return placed


def zones_of(zones: ZoneShapes, longitudes: "NDArray", latitudes: "NDArray") -> "NDArray":
    """The zone ids of points in degrees, 0 for none; NaN is nowhere."""
    import numpy as np

    grid = _grid(zones)
    x = np.floor(longitudes * CELLS_PER_DEGREE) - grid.west
    y = np.floor(latitudes * CELLS_PER_DEGREE) - grid.south
    columns, rows = grid.owner.shape
    near = np.flatnonzero((x >= 0) & (x < columns) & (y >= 0) & (y < rows))
    cells = x[near].astype(np.int64) * rows + y[near].astype(np.int64)
    found = np.zeros(len(longitudes), np.int16)
    found[near] = grid.owner.ravel()[cells]
    at_border = found[near] == AT_BORDER
    points, cells = near[at_border], cells[at_border]
    # Each of these points with each of the zones that touch its cell.
    first, end = (np.searchsorted(grid.border_cells, cells, side) for side in ("left", "right"))
    count = end - first
    pair = np.arange(count.sum()) + np.repeat(first - np.cumsum(count) + count, count)
    candidates, points_of = grid.border_zones[pair], np.repeat(points, count)
    inside = _is_inside(zones, candidates, longitudes[points_of], latitudes[points_of])
    found[points] = np.iinfo(np.int16).max
    np.minimum.at(found, points_of[inside], candidates[inside])
    found[found == np.iinfo(np.int16).max] = 0
    return found


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

    shapes, ids = _geometries(zones), np.array(zones.ids, dtype=np.int16)
    west, south, east, north = np.floor(shapely.total_bounds(shapes) * 2**COARSEST).astype(int)
    cells_of_square = 2 ** (FINEST - COARSEST)
    owner = np.zeros(
        ((east - west + 1) * cells_of_square, (north - south + 1) * cells_of_square), np.int16
    )
    # Squares by number of column and row, from the south-western corner.
    x, y = (axis.ravel() for axis in np.indices((east - west + 1, north - south + 1)))
    for level in range(COARSEST, FINEST + 1):
        parts = 2 ** (level - COARSEST)
        left, low = (west * parts + x) * 2.0**-level, (south * parts + y) * 2.0**-level
        squares = shapely.STRtree(shapely.box(left, low, left + 2.0**-level, low + 2.0**-level))
        zone, touched = squares.query(shapes, predicate="intersects")
        touches = np.bincount(touched, minlength=len(x))
        coverer, covered = squares.query(shapes, predicate="covers")
        alone = touches[covered] == 1
        coverer, covered = coverer[alone], covered[alone]
        side = 2 ** (FINEST - level)
        blocks = owner.reshape(owner.shape[0] // side, side, owner.shape[1] // side, side)
        blocks[x[covered], :, y[covered], :] = ids[coverer, None, None]
        bordered = touches > 0
        bordered[covered] = False
        if level < FINEST:
            x = (2 * x[bordered, None] + [0, 1, 0, 1]).ravel()
            y = (2 * y[bordered, None] + [0, 0, 1, 1]).ravel()
    owner[x[bordered], y[bordered]] = AT_BORDER
    kept = bordered[touched]
    cells = x[touched[kept]] * owner.shape[1] + y[touched[kept]]
    by_cell = np.argsort(cells, kind="stable")
    return Grid(
        west=int(west) * cells_of_square,
        south=int(south) * cells_of_square,
        owner=owner,
        border_cells=cells[by_cell],
        border_zones=ids[zone[kept]][by_cell],
    )
