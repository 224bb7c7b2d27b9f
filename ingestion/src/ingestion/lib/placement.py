"""Taxi zones of points: the months of 2009 and 2010 have coordinates instead of zone ids.

A point belongs to the zone whose shape it lies in or on the border of. On the border of several
zones, or where shapes overlap, the smallest id wins. A point outside all zones has none.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import duckdb

from ingestion.lib.zones import ZONE_IDS
from taxi_shared.lake import Lake
from taxi_shared.machine import cores
from taxi_shared.storage import literal
from taxi_shared.tables import ZONES

if TYPE_CHECKING:
    # Imported by the functions that use them: only months of 2009 and 2010 have points.
    import numpy as np
    from numpy.typing import NDArray

# DuckDB joins the ids of a block of rows, as bits of a few numbers: a table with those of each row
# would not fit into its memory, and a join by position would use one core.
BITS_PER_ID = ZONE_IDS[-1].bit_length()
IDS_PER_NUMBER = 63 // BITS_PER_ID
NUMBERS = 5
ROWS_PER_BLOCK = NUMBERS * IDS_PER_NUMBER
JOIN = f"JOIN placed ON placed.block = file_row_number // {ROWS_PER_BLOCK}"
# A batch of rows keeps memory the same for a month of any size.
ROWS_PER_SHARE = 2_800 * ROWS_PER_BLOCK  # of far fewer, finding those near a zone takes longest
LEAST_SHARES = 5  # for a smaller batch, too much of a large row group would be read in vain


class ZonesMissing(Exception):
    """The table `zones`, which points are placed by, has no shapes."""


@dataclass(frozen=True)
class Placement:
    """A column of zone ids, and the columns with the longitude and latitude of its points."""

    column: str
    longitude: str
    latitude: str

    @property
    def zone_id(self) -> str:
        """The zone id of a row or NULL, as SQL over a file with `file_row_number` and `placed`."""
        when = " ".join(f"WHEN {n} THEN placed.{self.column}_{n}" for n in range(NUMBERS))
        number = f"CASE file_row_number // {IDS_PER_NUMBER} % {NUMBERS} {when} END"
        bits = f"{number} >> {BITS_PER_ID} * (file_row_number % {IDS_PER_NUMBER})"
        return f"NULLIF(({bits}) & {2**BITS_PER_ID - 1}, 0)"


@dataclass(frozen=True)
class PointQuery:
    """How to read the points of a file.

    sql:  a query of longitudes and latitudes in degrees, in the order of the rows, with the
          parameters `$file`, `$first` and `$end` (row numbers, the end excluded)
    file: the path as DuckDB takes it
    rows: number of rows of the file
    """

    sql: str
    file: str
    rows: int


@dataclass(frozen=True)
class ZoneShapes:
    """The zones that have a shape, by ascending id; shapes as WKT in longitude and latitude."""

    ids: tuple[int, ...]
    shapes: tuple[str, ...]

    @classmethod
    def load(cls, con: duckdb.DuckDBPyConnection, lake: Lake) -> "ZoneShapes":
        """Load the shapes of the lake's table `zones`. Raises ZonesMissing where it has none."""
        rows: list[Any] = []
        if file := lake.snapshot().file(ZONES):
            rows = con.execute(
                "SELECT zone_id, geometry FROM read_parquet($file, hive_partitioning = false) "
                "WHERE geometry IS NOT NULL ORDER BY zone_id",
                {"file": literal(file.path)},
            ).fetchall()
        if not rows:
            raise ZonesMissing(
                "trips have points instead of zones, and there are no taxi zones to place them in: "
                "materialize taxi_zones, then this month again"
            )
        return cls(*zip(*rows, strict=True))

    @property
    def fingerprint(self) -> str:
        """A hash of ids and shapes: months placed by other shapes are loaded again."""
        return hashlib.sha256(repr(self).encode()).hexdigest()

    def prepare(self) -> Any:
        """The shapes for one thread: GEOS completes a prepared shape when it is first used."""
        import numpy as np
        import shapely

        # As objects: an array of texts would give each the room of the longest, 300 MB.
        shapes = shapely.from_wkt(np.array(self.shapes, dtype=object))
        shapely.prepare(shapes)
        return shapes


def place(
    con: duckdb.DuckDBPyConnection,
    zones: ZoneShapes,
    placements: Sequence[Placement],
    points: PointQuery,
) -> "dict[str, NDArray[np.int64]]":
    """The table `placed`: the zone ids of each block of rows, for each placement's column.

    Its columns `pickup_zone_id_0` and so on are numbers with IDS_PER_NUMBER ids each,
    the first row's in the lowest bits; 0 for none.
    """
    import numpy as np

    threads = cores()
    rows_per_batch = ROWS_PER_SHARE * max(threads, LEAST_SHARES)
    shapes = [zones.prepare() for _ in range(threads)]
    blocks = -(-points.rows // ROWS_PER_BLOCK)
    placed = {p.column: np.zeros((NUMBERS, blocks), np.int64) for p in placements}
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, points.rows, rows_per_batch):
            end = min(first + rows_per_batch, points.rows)
            rows = {"file": points.file, "first": first, "end": end}
            batch = con.execute(points.sql, rows).fetchnumpy()
            for p in placements:
                axes = (np.ma.filled(batch[axis], np.nan) for axis in (p.longitude, p.latitude))
                shares = (np.array_split(axis, threads) for axis in axes)
                found = pool.map(partial(_zone_ids, zones.ids), shapes, *shares)
                packed = _packed(np.concatenate(list(found)))
                begin = first // ROWS_PER_BLOCK
                placed[p.column][:, begin : begin + packed.shape[1]] = packed
    columns = {f"{name}_{n}": of[n] for name, of in placed.items() for n in range(NUMBERS)}
    return {"block": np.arange(blocks), **columns}


def _packed(ids: "NDArray[np.int16]") -> "NDArray[np.int64]":
    """Ids as numbers with IDS_PER_NUMBER each: (NUMBERS, blocks)."""
    import numpy as np

    padded = np.pad(ids, (0, -len(ids) % ROWS_PER_BLOCK)).reshape(-1, NUMBERS, IDS_PER_NUMBER)
    shifts = BITS_PER_ID * np.arange(IDS_PER_NUMBER)
    packed: NDArray[np.int64] = (padded.astype(np.int64) << shifts).sum(axis=2)
    return packed.T


def _zone_ids(
    ids: Sequence[int],
    shapes: Any,
    longitudes: "NDArray[np.float64]",
    latitudes: "NDArray[np.float64]",
) -> "NDArray[np.int16]":
    """The zone ids of points in degrees, 0 for none; NaN is in no zone.

    Each zone is tested against the points within its bounds, which are found by latitude. For the
    28 million points of a month's 14 million trips that takes 8 s of a core.
    """
    import numpy as np
    import shapely

    by_latitude = np.argsort(latitudes)
    x, y = longitudes[by_latitude], latitudes[by_latitude]
    found = np.zeros(len(x), np.int16)
    # The smallest id last, as it wins.
    for zone_id, shape in zip(reversed(ids), reversed(shapes), strict=True):
        west, south, east, north = shapely.bounds(shape)
        first, end = np.searchsorted(y, south, "left"), np.searchsorted(y, north, "right")
        is_near = (x[first:end] >= west) & (x[first:end] <= east)
        near = first + np.flatnonzero(is_near)
        found[near[shapely.intersects_xy(shape, x[near], y[near])]] = zone_id
    placed = np.empty_like(found)
    placed[by_latitude] = found
    return placed
