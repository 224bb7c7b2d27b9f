"""Taxi zones: the publisher's CSV to `raw/`, and from there into the lake's table `zones`."""

import time

import dagster as dg
import duckdb
from upath import UPath

from ingestion.defs.resources import TlcSource
from ingestion.lib.download import download
from ingestion.lib.shapes import Zone, is_zones_csv, one_row_an_id
from taxi_shared import keys
from taxi_shared.database import LakeDatabase
from taxi_shared.lake import Lake
from taxi_shared.tables import ZONES


@dg.asset(key=keys.TAXI_ZONES_FILE, group_name=keys.RAW_FILES, kinds={"csv"})
def taxi_zones_file(
    context: dg.AssetExecutionContext, tlc: TlcSource, database: LakeDatabase
) -> dg.MaterializeResult:
    """The taxi zones with their shapes, as published: `raw/taxi_zones.csv`."""
    begin = time.perf_counter()
    path = zones_csv(database.lake)
    done = download(tlc.zones_address(), path, check=is_zones_csv, patience=tlc.patience)
    context.log.info(f"{path.name} {'fetched' if done.fetched else 'unchanged'}")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(path.read_text().splitlines()) - 1,
            "bytes": done.receipt.bytes,
            "seconds": round(time.perf_counter() - begin, 3),
            "sha256": done.receipt.sha256,
            "source": done.receipt.address,
        }
    )


@dg.asset(
    key=keys.TAXI_ZONES,
    deps=[keys.TAXI_ZONES_FILE],
    group_name=keys.INGESTED,
    kinds={"duckdb", "parquet"},
    metadata={"dagster/column_schema": ZONES.dagster_schema()},
)
def taxi_zones(database: LakeDatabase) -> dg.MaterializeResult:
    """Table `zones`: one row for each zone id that trips can carry, 1 to 265."""
    begin = time.perf_counter()
    lake = database.lake
    with database.get_connection() as con:
        zones = one_row_an_id(read_zones(con, zones_csv(lake)))
        write_zones(con, lake, zones)
        rows, size = lake.size(con, ZONES)
    database.publish()
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": rows,
            "bytes": size,
            "seconds": round(time.perf_counter() - begin, 3),
            "zones without a shape": [z.zone_id for z in zones if z.geometry is None],
        }
    )


def zones_csv(lake: Lake) -> UPath:
    return lake.root.raw / "taxi_zones.csv"


def read_zones(con: duckdb.DuckDBPyConnection, path: UPath) -> list[Zone]:
    """The rows of the zones CSV, in its order."""
    rows = con.execute(
        "SELECT LocationID, zone, borough, the_geom FROM read_csv($file, header = true)",
        {"file": str(path)},
    ).fetchall()
    return [Zone(*row) for row in rows]


def write_zones(con: duckdb.DuckDBPyConnection, lake: Lake, zones: list[Zone]) -> None:
    """Replace the table `zones`."""
    lake.write(
        con,
        ZONES,
        "SELECT CAST(z.zone_id AS INTEGER) AS zone_id, z.zone, z.borough, z.geometry "
        "FROM (SELECT UNNEST($zones) AS z) ORDER BY zone_id",
        {"zones": [vars(zone) for zone in zones]},
    )
