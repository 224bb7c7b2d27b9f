"""Taxi zones: their shapes and TLC's lookup to `raw/`, from there into the lake's table `zones`.

Trips of 2009 and 2010 are placed by this table. It is no dependency of `taxi_trips` all the same:
months since 2011 have zones of their own, and should neither fail with the zones' publisher nor
count as outdated whenever the zones are fetched again. Where both are in one run, the zones come
first by their priority.
"""

import time
from collections.abc import Iterator, Sequence

import dagster as dg
import duckdb
from pydantic import Field
from upath import UPath

from ingestion.defs.resources import TlcSource
from ingestion.defs.trip_checks import columns_result, columns_spec
from ingestion.lib import download as downloads
from ingestion.lib import shapes, zone_csv
from ingestion.lib.checks import UnlikeDescribed, check_columns
from ingestion.lib.download import NotPublished, SourceMetadata, TransientError, download
from ingestion.lib.shapes import Zone, merge_duplicate_zones
from ingestion.lib.zone_checks import (
    EXPECTED_BOROUGHS,
    EXPECTED_IDS,
    EXPECTED_SHAPES,
    KNOWN_BOROUGHS,
    NO_ZONE_TWICE,
    ZONES_COMPLETE,
    ZONES_IN_NEW_YORK,
    CheckOutcome,
    check_zones,
)
from ingestion.lib.zone_csv import (
    ZonesFileError,
    is_zone_lookup_csv,
    is_zones_csv,
    read_lookup,
    read_zones,
)
from taxi_shared import keys, storage
from taxi_shared.database import LakeDatabase
from taxi_shared.lake import Lake, Rows
from taxi_shared.lineage import column_lineage
from taxi_shared.tables import ZONES
from taxi_shared.versions import code_version, data_version, function_in

BEFORE_TRIPS = {"dagster/priority": "1"}
ORIGINS = (
    ("zone_id", ["LocationID"]),
    ("zone", ["zone"]),
    ("borough", ["borough"]),
    ("service_zone", ["service_zone"]),  # of the lookup
    ("geometry", ["the_geom"]),
)
NO_LOOKUP = "not published: service_zone is NULL, names of zones without a shape are the platform's"
CHECKS = {
    NO_ZONE_TWICE: f"Each row has {EXPECTED_IDS}.",
    ZONES_COMPLETE: "The file can be read, and has every zone, borough and service zone that the "
    "lake has, of which at most a tenth change name, borough or place; for the first load, every "
    "zone that TLC publishes. The run config `accept_changed_zones: true` accepts changes.",
    ZONES_IN_NEW_YORK: f"Each shape is {EXPECTED_SHAPES}.",
    KNOWN_BOROUGHS: f"Each borough is {EXPECTED_BOROUGHS}.",
}
LAKE_KEEPS = "The lake keeps the zones that it had."
HOW_TO_CORRECT = "Correct the file, then materialize taxi_zones_file and taxi_zones."
HOW_TO_ACCEPT = (
    "If TLC has really changed its zones, materialize taxi_zones from the launchpad with the "
    "config {ops: {taxi_zones: {config: {accept_changed_zones: true}}}}."
)


class ZonesConfig(dg.Config):
    """What a person may choose in the launchpad for one run of `taxi_zones`."""

    accept_changed_zones: bool = Field(
        default=False,
        description="Load zones that lack zones, boroughs or service zones of the lake, or change "
        "many of them. The other checks still hold.",
    )


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
            backoff=tlc.backoff,
            size_setting="zones_max_mb",
        )
        lookup = _fetch_lookup(context, tlc, database.lake)
    except TransientError as error:
        tlc.retry_what_may_pass(context, [error])
        raise
    context.log.info(f"{path.name} {'fetched' if done.fetched else 'unchanged'}")
    known = SourceMetadata.load(lookup_csv(database.lake))
    return dg.MaterializeResult(
        data_version=data_version(f"{done.metadata.sha256} {known.sha256 if known else ''}"),
        metadata={
            "dagster/row_count": len(storage.read_bytes(path).splitlines()) - 1,
            "bytes": done.metadata.bytes,
            "seconds": round(time.perf_counter() - begin, 3),
            "sha256": done.metadata.sha256,
            "source": done.metadata.address,
            "lookup": lookup,
        },
    )


def _fetch_lookup(context: dg.AssetExecutionContext, tlc: TlcSource, lake: Lake) -> str:
    """Fetch TLC's lookup; returns its address, or why there is none. An earlier one stays."""
    path = lookup_csv(lake)
    try:
        done = download(
            tlc.zone_lookup_address(),
            path,
            check=is_zone_lookup_csv,
            backoff=tlc.backoff,
            size_setting="zones_max_mb",
        )
    except NotPublished as error:
        context.log.warning(f"TLC's zone lookup: {error}")
        return f"the one fetched before: {error}" if path.is_file() else NO_LOOKUP
    return done.metadata.address


@dg.asset(
    key=keys.TAXI_ZONES,
    deps=[keys.TAXI_ZONES_FILE],
    group_name=keys.INGESTED,
    kinds={"duckdb", "parquet"},
    op_tags=BEFORE_TRIPS,
    pool=ZONES.name,
    automation_condition=dg.AutomationCondition.eager(),
    code_version=code_version(
        function_in(__file__, "taxi_zones", "write_zones"),
        shapes,
        zone_csv,
        ZONES.fingerprint_source,
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
        *(
            dg.AssetCheckSpec(
                name,
                asset=keys.TAXI_ZONES,
                blocking=True,
                description=f"{description} Otherwise the lake keeps the zones that it had.",
            )
            for name, description in CHECKS.items()
        ),
        columns_spec(keys.TAXI_ZONES),
    ],
)
def taxi_zones(
    context: dg.AssetExecutionContext, config: ZonesConfig, database: LakeDatabase
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult]:
    """Table `zones`: one row for each zone id that trips can carry, 1 to 265."""
    begin = time.perf_counter()
    lake = database.lake
    with database.get_connection(tables=[ZONES]) as con:
        try:
            file, lookup = read_zones(zones_csv(lake)), read_lookup(lookup_csv(lake))
        except ZonesFileError as error:
            yield check_result(CheckOutcome(ZONES_COMPLETE, (f"{error}.",)))
            raise dg.Failure(f"{error}.\n{LAKE_KEEPS}\n{HOW_TO_CORRECT}") from None
        outcomes = check_zones(file, lookup, zones_in_lake(con), config.accept_changed_zones)
        yield from map(check_result, outcomes)
        if wrong := failure_message(outcomes):
            raise dg.Failure(wrong)
        zones = merge_duplicate_zones(file.zones, lookup.zones)
        try:
            write_zones(con, lake, zones, file.publisher)
        except UnlikeDescribed as error:
            yield columns_result(keys.TAXI_ZONES, [error])
            raise dg.Failure(f"{error}\n{LAKE_KEEPS}") from None
        yield columns_result(keys.TAXI_ZONES, [])
        rows, size = lake.size(con, ZONES)
        first_rows = lake.first_rows(con, ZONES)
    database.publish()
    without_service_zone = [z.zone_id for z in zones if z.service_zone is None]
    if without_service_zone:
        context.log.warning(f"{len(without_service_zone)} zones have no service_zone")
    yield dg.MaterializeResult(
        # Who published them is shown with what is made of them.
        data_version=data_version(f"{file.publisher} {[vars(zone) for zone in zones]}"),
        metadata={
            "dagster/row_count": rows,
            "bytes": size,
            "seconds": round(time.perf_counter() - begin, 3),
            "publisher": file.publisher,
            "first rows": first_rows,
            "zones without a shape": [z.zone_id for z in zones if z.geometry is None],
            "zones without a service zone": without_service_zone,
        },
    )


def check_result(outcome: CheckOutcome) -> dg.AssetCheckResult:
    """The outcome of a check as Dagster records it."""
    return dg.AssetCheckResult(
        asset_key=keys.TAXI_ZONES,
        check_name=outcome.check,
        passed=not outcome.errors and not outcome.warnings,
        severity=dg.AssetCheckSeverity.ERROR if outcome.errors else dg.AssetCheckSeverity.WARN,
        description="\n".join((*outcome.errors, *outcome.warnings)) or None,
        metadata=dict(outcome.metadata),
    )


def failure_message(outcomes: Sequence[CheckOutcome]) -> str:
    """What is wrong and what to do; empty where no check has errors."""
    failed = [outcome for outcome in outcomes if outcome.errors]
    if not failed:
        return ""
    what_to_do = HOW_TO_ACCEPT if all(each.acceptable for each in failed) else HOW_TO_CORRECT
    errors = [sentence for outcome in failed for sentence in outcome.errors]
    return "\n".join([*errors, LAKE_KEEPS, what_to_do])


def zones_csv(lake: Lake) -> UPath:
    return lake.root.raw / "taxi_zones.csv"


def lookup_csv(lake: Lake) -> UPath:
    return lake.root.raw / "taxi_zone_lookup.csv"


def zones_in_lake(con: duckdb.DuckDBPyConnection) -> list[Zone]:
    """The zones that the view `zones` has; one from before a column was described lacks it."""
    view = con.table(ZONES.name)
    columns = [
        name if name in view.columns else f"CAST(NULL AS VARCHAR) AS {name}"
        for name in ("zone_id", "zone", "borough", "geometry", "service_zone")
    ]
    return [Zone(*row) for row in view.project(", ".join(columns)).fetchall()]


def write_zones(
    con: duckdb.DuckDBPyConnection, lake: Lake, zones: list[Zone], publisher: str = ""
) -> None:
    """Replace the table `zones`. A column without values has its type all the same.

    Raises UnlikeDescribed where the new file has other columns than the table; the lake then keeps
    the zones that it had.
    """
    columns = ", ".join(f"CAST(z.{c.name} AS {c.type}) AS {c.name}" for c in ZONES.columns)
    query = f"SELECT {columns} FROM (SELECT UNNEST($zones) AS z) ORDER BY zone_id"
    with lake.replacement([ZONES]) as new:
        new.write(con, ZONES, Rows(query, {"zones": [vars(z) for z in zones]}, publisher=publisher))
        check_columns(con, new.file(ZONES), ZONES, shown=lake.file(ZONES))
