"""`taxi_zones_file` and `taxi_zones`: TLC's zones and lookup in `raw/`, and the table `zones`.

Trips of 2009 and 2010 get their zones from this table. It is no dependency of `taxi_trips` all the
same: months since 2011 have zone ids, and should neither fail with the zones' publisher nor count
as outdated whenever the zones are fetched again. Where both are in one run, the priority of the
zones has them run first.
"""

import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import dagster as dg
import duckdb
from pydantic import Field
from upath import UPath

from ingestion.defs.resources import TlcSource
from ingestion.defs.trip_checks import columns_result, columns_spec
from ingestion.lib import download as downloads
from ingestion.lib import published_files, zone_csv
from ingestion.lib import zones as zone_table
from ingestion.lib.checks import SchemaMismatch
from ingestion.lib.download import Download, SourceMetadata, download
from ingestion.lib.published_files import NotPublished, TransientError
from ingestion.lib.zone_checks import (
    EXPECTED_BOROUGHS,
    EXPECTED_IDS,
    EXPECTED_SHAPES,
    KNOWN_BOROUGHS,
    NO_ZONE_TWICE,
    ZONES_COMPLETE,
    ZONES_IN_NEW_YORK,
    CheckOutcome,
    ZonesUpdate,
    check_zones,
)
from ingestion.lib.zone_csv import (
    LOOKUP_CSV,
    LOOKUP_FILE,
    ZONES_CSV,
    ZONES_FILE,
    ZonesFileError,
    read_lookup,
    read_zones,
)
from ingestion.lib.zones import Zone, load_zones, merge_duplicate_zones, write_zones
from taxi_shared import keys, storage
from taxi_shared.database import LakeDatabase
from taxi_shared.lake import Lake
from taxi_shared.lineage import column_lineage
from taxi_shared.tables import ZONES
from taxi_shared.versions import code_version, data_version, source_of

BEFORE_TRIPS = {"dagster/priority": "1"}
ORIGINS = {
    "zone_id": "LocationID",
    "zone": "zone",
    "borough": "borough",
    "service_zone": "service_zone",  # of the lookup
    "geometry": "the_geom",
}
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
    code_version=code_version(
        source_of(__file__, "taxi_zones_file", "fetch_lookup"), downloads, published_files
    ),
)
def taxi_zones_file(
    context: dg.AssetExecutionContext, tlc: TlcSource, database: LakeDatabase
) -> dg.MaterializeResult[None]:
    """The taxi zones with their shapes, as published: `raw/taxi_zones.csv`.

    Beside it TLC's lookup of names and service zones, where there is one:
    `raw/taxi_zone_lookup.csv`.
    """
    begin = time.perf_counter()
    raw = database.lake.root.raw
    try:
        zones = download(tlc.zones_address(), raw / ZONES_FILE, ZONES_CSV, tlc.backoff)
        lookup = fetch_lookup(context, tlc, raw / LOOKUP_FILE)
    except TransientError as error:
        tlc.retry_transient_errors(context, [error])
        raise
    context.log.info(f"{ZONES_FILE} {'fetched' if zones.fetched else 'unchanged'}")
    stored = SourceMetadata.load(raw / LOOKUP_FILE)
    return dg.MaterializeResult(
        data_version=data_version(f"{zones.metadata.sha256} {stored.sha256 if stored else ''}"),
        metadata={
            **file_metadata(zones, raw / ZONES_FILE),
            "lookup": lookup,
            "seconds": round(time.perf_counter() - begin, 3),
        },
    )


@dg.asset(
    key=keys.TAXI_ZONES,
    deps=[keys.TAXI_ZONES_FILE],
    group_name=keys.INGESTED,
    kinds={"duckdb", "parquet"},
    op_tags=BEFORE_TRIPS,
    pool=ZONES.name,
    automation_condition=dg.AutomationCondition.eager(),
    code_version=code_version(
        source_of(__file__, "taxi_zones"), zone_table, zone_csv, ZONES.fingerprint_source
    ),
    metadata={
        "dagster/column_schema": ZONES.dagster_schema(),
        "dagster/column_lineage": column_lineage(
            {name: [(keys.TAXI_ZONES_FILE, origin)] for name, origin in ORIGINS.items()}
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
) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
    """Table `zones`: one row for each zone id that trips can carry, 1 to 265."""
    begin = time.perf_counter()
    with database.get_connection(tables=[ZONES]) as con:
        update = yield from read_checked(con, database.lake, config)
        zones = merge_duplicate_zones(update.file.zones, update.lookup.zones)
        publisher = update.file.publisher
        yield from replace_table(con, database.lake, zones, publisher)
        metadata = table_metadata(con, database.lake, zones)
    database.publish()
    if without_service_zone := metadata["zones without a service zone"]:
        context.log.warning(f"{len(without_service_zone)} zones have no service_zone")
    yield dg.MaterializeResult(
        # With the publisher, who is shown with what is made of the zones.
        data_version=data_version(f"{publisher} {[vars(zone) for zone in zones]}"),
        metadata={
            **metadata,
            "publisher": publisher,
            "seconds": round(time.perf_counter() - begin, 3),
        },
    )


def fetch_lookup(context: dg.AssetExecutionContext, tlc: TlcSource, path: UPath) -> str:
    """Fetch TLC's lookup; return its address, or why there is none. An earlier one stays."""
    try:
        lookup = download(tlc.zone_lookup_address(), path, LOOKUP_CSV, tlc.backoff)
    except NotPublished as error:
        context.log.warning(f"TLC's zone lookup: {error}")
        return f"the one fetched before: {error}" if path.is_file() else NO_LOOKUP
    return lookup.metadata.address


def file_metadata(zones: Download, path: UPath) -> dict[str, Any]:
    """What the UI shows of a file of zones."""
    return {
        "dagster/row_count": len(storage.read_bytes(path).splitlines()) - 1,
        "bytes": zones.metadata.bytes,
        "sha256": zones.metadata.sha256,
        "source": zones.metadata.address,
    }


def read_checked(
    con: duckdb.DuckDBPyConnection, lake: Lake, config: ZonesConfig
) -> Generator[dg.AssetCheckResult, None, ZonesUpdate]:
    """Read and check the files in `raw/`; yield the results of the checks, return the zones.

    Raises dagster.Failure where a check has errors.
    """
    raw = lake.root.raw
    try:
        file, lookup = read_zones(raw / ZONES_FILE), read_lookup(raw / LOOKUP_FILE)
    except ZonesFileError as error:
        yield check_result(CheckOutcome(ZONES_COMPLETE, (f"{error}.",)))
        raise dg.Failure(f"{error}.\n{LAKE_KEEPS}\n{HOW_TO_CORRECT}") from None
    update = ZonesUpdate(file, lookup, load_zones(con))
    outcomes = check_zones(update, accept_changes=config.accept_changed_zones)
    yield from map(check_result, outcomes)
    if message := failure_message(outcomes):
        raise dg.Failure(message)
    return update


def replace_table(
    con: duckdb.DuckDBPyConnection, lake: Lake, zones: list[Zone], publisher: str
) -> Iterator[dg.AssetCheckResult]:
    """Replace the table `zones`; yield the result of the check of its columns.

    Raises dagster.Failure where the columns are others than described.
    """
    try:
        write_zones(con, lake, zones, publisher)
    except SchemaMismatch as error:
        yield columns_result(keys.TAXI_ZONES, [error])
        raise dg.Failure(f"{error}\n{LAKE_KEEPS}") from None
    yield columns_result(keys.TAXI_ZONES, [])


def table_metadata(con: duckdb.DuckDBPyConnection, lake: Lake, zones: list[Zone]) -> dict[str, Any]:
    """What the UI shows of the table `zones`."""
    new = lake.snapshot()
    return {
        "dagster/row_count": new.rows(con, ZONES),
        "bytes": new.files(ZONES)[""].size,
        "first rows": new.first_rows(con, ZONES),
        "zones without a shape": [z.zone_id for z in zones if z.geometry is None],
        "zones without a service zone": [z.zone_id for z in zones if z.service_zone is None],
    }


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
