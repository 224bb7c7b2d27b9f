"""Taxi zones: their shapes and TLC's lookup to `raw/`, from there into the lake's table `zones`.

Trips of 2009 and 2010 are placed by this table. It is no dependency of `taxi_trips` all the same:
months since 2011 have zones of their own, and should neither fail with the zones' publisher nor
count as outdated whenever the zones are fetched again. Where both are in one run, the zones come
first by their priority.
"""

import time
from collections.abc import Iterator

import dagster as dg
import duckdb
from upath import UPath

from ingestion.defs.resources import TlcSource
from ingestion.defs.trip_checks import columns_result, columns_spec
from ingestion.lib import download as downloads
from ingestion.lib import shapes
from ingestion.lib.checks import UnlikeDescribed, check_columns
from ingestion.lib.download import NotPublished, Receipt, TransientError, download
from ingestion.lib.shapes import (
    Zone,
    is_zone_lookup_csv,
    is_zones_csv,
    one_row_an_id,
    wrong_ids,
)
from taxi_shared import keys, settings, storage
from taxi_shared.database import LakeDatabase
from taxi_shared.lake import Lake
from taxi_shared.lineage import column_lineage
from taxi_shared.tables import ZONES
from taxi_shared.versions import code_version, data_version, function_in

BEFORE_TRIPS = {"dagster/priority": "1"}
NO_ZONE_TWICE = "no_zone_twice"
ORIGINS = (
    ("zone_id", ["LocationID"]),
    ("zone", ["zone"]),
    ("borough", ["borough"]),
    ("service_zone", ["service_zone"]),  # of the lookup
    ("geometry", ["the_geom"]),
)
NO_LOOKUP = "not published: service_zone is NULL, names of zones without a shape are the platform's"


@dg.asset(
    key=keys.TAXI_ZONES_FILE,
    group_name=keys.RAW_FILES,
    kinds={"csv"},
    op_tags=BEFORE_TRIPS,
    automation_condition=dg.AutomationCondition.on_cron("0 5 1 * *"),
    pool=ZONES.name,
    code_version=code_version(function_in(__file__, "taxi_zones_file", "_fetch_lookup"), downloads),
)
def taxi_zones_file(
    context: dg.AssetExecutionContext, tlc: TlcSource, database: LakeDatabase
) -> dg.MaterializeResult:
    """The taxi zones with their shapes, as published: `raw/taxi_zones.csv`.

    Beside it TLC's lookup of names and service zones, where there is one:
    `raw/taxi_zone_lookup.csv`.
    """
    begin = time.perf_counter()
    path = zones_csv(database.lake)
    try:
        done = download(
            tlc.zones_address(),
            path,
            check=is_zones_csv,
            patience=tlc.patience,
            size_setting=settings.ZONES_MAX_MB,
        )
        lookup = _fetch_lookup(context, tlc, database.lake)
    except TransientError as error:
        tlc.retry_what_may_pass(context, [error])
        raise
    context.log.info(f"{path.name} {'fetched' if done.fetched else 'unchanged'}")
    known = Receipt.kept(lookup_csv(database.lake))
    return dg.MaterializeResult(
        data_version=data_version(f"{done.receipt.sha256} {known.sha256 if known else ''}"),
        metadata={
            "dagster/row_count": len(storage.read_bytes(path).splitlines()) - 1,
            "bytes": done.receipt.bytes,
            "seconds": round(time.perf_counter() - begin, 3),
            "sha256": done.receipt.sha256,
            "source": done.receipt.address,
            "lookup": lookup,
        },
    )


def _fetch_lookup(context: dg.AssetExecutionContext, tlc: TlcSource, lake: Lake) -> str:
    """Fetch TLC's lookup; its address, or why there is none. A lookup at hand stays."""
    path = lookup_csv(lake)
    try:
        done = download(
            tlc.zone_lookup_address(),
            path,
            check=is_zone_lookup_csv,
            patience=tlc.patience,
            size_setting=settings.ZONES_MAX_MB,
        )
    except NotPublished as error:
        context.log.warning(f"TLC's zone lookup: {error}")
        return f"the one at hand, for {error}" if path.is_file() else NO_LOOKUP
    return done.receipt.address


@dg.asset(
    key=keys.TAXI_ZONES,
    deps=[keys.TAXI_ZONES_FILE],
    group_name=keys.INGESTED,
    kinds={"duckdb", "parquet"},
    op_tags=BEFORE_TRIPS,
    pool=ZONES.name,
    automation_condition=dg.AutomationCondition.eager(),
    code_version=code_version(
        function_in(__file__, "taxi_zones", "read_zones", "read_lookup", "write_zones"),
        shapes,
        ZONES.logic,
    ),
    metadata={
        "dagster/column_schema": ZONES.dagster_schema(),
        "dagster/column_lineage": column_lineage(
            {
                name: [(keys.TAXI_ZONES_FILE, origin) for origin in origins]
                for name, origins in ORIGINS
            }
        ),
    },
    check_specs=[
        dg.AssetCheckSpec(
            NO_ZONE_TWICE,
            asset=keys.TAXI_ZONES,
            blocking=True,
            description="No zone is there twice, and none has an id that trips cannot carry. "
            "Otherwise the lake keeps the zones that it had.",
        ),
        columns_spec(keys.TAXI_ZONES),
    ],
)
def taxi_zones(
    context: dg.AssetExecutionContext, database: LakeDatabase
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """Table `zones`: one row for each zone id that trips can carry, 1 to 265."""
    begin = time.perf_counter()
    lake = database.lake
    with database.get_connection(tables=[ZONES]) as con:
        zones = one_row_an_id(read_zones(con, zones_csv(lake)), read_lookup(con, lookup_csv(lake)))
        wrong = wrong_ids(zone.zone_id for zone in zones)
        yield dg.AssetCheckResult(
            asset_key=keys.TAXI_ZONES,
            check_name=NO_ZONE_TWICE,
            passed=not wrong,
            description=wrong or None,
        )
        if wrong:
            raise dg.Failure(f"{zones_csv(lake)}: {wrong}")
        write_zones(con, lake, zones)
        columns = _columns_checked(con, lake)
        yield columns
        if not columns.passed:
            raise dg.Failure(columns.description)
        rows, size = lake.size(con, ZONES)
        first_rows = lake.first_rows(con, ZONES)
    database.publish()
    without_service_zone = [z.zone_id for z in zones if z.service_zone is None]
    if without_service_zone:
        context.log.warning(f"{len(without_service_zone)} zones have no service_zone")
    yield dg.MaterializeResult(
        data_version=data_version(str([vars(zone) for zone in zones])),
        metadata={
            "dagster/row_count": rows,
            "bytes": size,
            "seconds": round(time.perf_counter() - begin, 3),
            "first rows": first_rows,
            "zones without a shape": [z.zone_id for z in zones if z.geometry is None],
            "zones without a service zone": without_service_zone,
        },
    )


def _columns_checked(con: duckdb.DuckDBPyConnection, lake: Lake) -> dg.AssetCheckResult:
    try:
        check_columns(con, lake.file(ZONES), ZONES)
    except UnlikeDescribed as error:
        return columns_result(keys.TAXI_ZONES, [error])
    return columns_result(keys.TAXI_ZONES, [])


def zones_csv(lake: Lake) -> UPath:
    return lake.root.raw / "taxi_zones.csv"


def lookup_csv(lake: Lake) -> UPath:
    return lake.root.raw / "taxi_zone_lookup.csv"


def read_lookup(con: duckdb.DuckDBPyConnection, path: UPath) -> list[Zone]:
    """The rows of TLC's lookup, texts as TLC writes them ("N/A", "NA" too); none without a file."""
    if not path.is_file():
        return []
    rows = con.execute(
        "SELECT CAST(LocationID AS INTEGER), Zone, Borough, NULL, service_zone "
        "FROM read_csv($file, header = true, all_varchar = true)",
        {"file": str(path)},
    ).fetchall()
    return [Zone(*row) for row in rows]


def read_zones(con: duckdb.DuckDBPyConnection, path: UPath) -> list[Zone]:
    """The rows of the zones CSV, in its order."""
    rows = con.execute(
        "SELECT LocationID, zone, borough, the_geom FROM read_csv($file, header = true)",
        {"file": str(path)},
    ).fetchall()
    return [Zone(*row) for row in rows]


def write_zones(con: duckdb.DuckDBPyConnection, lake: Lake, zones: list[Zone]) -> None:
    """Replace the table `zones`. A column without values has its type all the same."""
    columns = ", ".join(f"CAST(z.{c.name} AS {c.type}) AS {c.name}" for c in ZONES.columns)
    lake.write(
        con,
        ZONES,
        f"SELECT {columns} FROM (SELECT UNNEST($zones) AS z) ORDER BY zone_id",
        {"zones": [vars(zone) for zone in zones]},
    )
