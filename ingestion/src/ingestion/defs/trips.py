"""`taxi_trips_file` and `taxi_trips`: TLC's monthly files in `raw/`, and their rows in the lake.

The other services of `taxi_shared.services` have the same: `green_trips_file` and `green_trips`,
and so on. One step makes both assets of a service: a month is loaded while the next ones are being
fetched, and a month that fails does not stop the others. How a file is fetched is in
`lib/download.py`, how a month is loaded in `lib/loading.py`. A backfill is one run, or with
TAXI_MONTHS_PER_RUN several at once, which claim their months as in `lib/claims.py`.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import dagster as dg
import duckdb
from pydantic import Field

from ingestion.defs.resources import TlcSource
from ingestion.defs.trip_checks import check_results, check_specs
from ingestion.defs.trip_report import TripReport
from ingestion.lib import (
    conform,
    download,
    loading,
    parquet_schema,
    placement,
    published_files,
    quality,
    services,
)
from ingestion.lib.claims import Claims
from ingestion.lib.loading import Implausible, LoadedMonth, MonthFile
from ingestion.lib.months import Fetcher, duckdb_options, load_concurrently, stored_file
from ingestion.lib.publication import Refusals
from taxi_shared import keys, settings, storage
from taxi_shared.database import LakeDatabase
from taxi_shared.lake import Lake
from taxi_shared.lineage import column_lineage
from taxi_shared.partitions import monthly
from taxi_shared.services import Service
from taxi_shared.versions import code_version


class TripsConfig(dg.Config):
    """What a person may choose in the launchpad for one run."""

    accept_months: list[str] = Field(
        default=[],
        description="Months, such as 2023-03, whose files are loaded though they look implausible: "
        "with far fewer rows than expected, or mostly those of other months.",
    )
    roll_back_to: int | None = Field(
        default=None,
        description="Version of the table, as `make history` lists them: months are put back as "
        "they were then, and no file is fetched or loaded.",
    )

    def accept(self, files: Sequence[MonthFile]) -> list[MonthFile]:
        """Mark the files of the chosen months. Raises dagster.Failure for other months."""
        expected = [file.month for file in files]
        if others := [month for month in self.accept_months if month not in expected]:
            raise dg.Failure(
                f"accept_months has {', '.join(others)}; expected months of this run: "
                f"{', '.join(expected)}",
                allow_retries=False,
            )
        return [
            replace(
                file,
                is_accepted=file.month in self.accept_months,
                version=self.roll_back_to,
            )
            for file in files
        ]


def trip_assets(service: Service) -> dg.AssetsDefinition:
    """The file asset and the table asset of a service, as in `taxi_trips_file` and `taxi_trips`."""
    per_run = settings.load().months_per_run

    @dg.multi_asset(
        name=service.asset,
        specs=[file_spec(service), table_spec(service)],
        check_specs=check_specs(service),
        # The queue holds a run until the one before it has ended: then there is no other claim.
        pool=None if per_run else service.table.name,
        partitions_def=monthly(),
        backfill_policy=dg.BackfillPolicy.multi_run(per_run)
        if per_run
        else dg.BackfillPolicy.single_run(),
        can_subset=True,
    )
    def fetch_and_load(
        context: dg.AssetExecutionContext,
        config: TripsConfig,
        tlc: TlcSource,
        database: LakeDatabase,
    ) -> Iterator[dg.AssetCheckResult]:
        """Fetch each month's file, load its rows, and record both as soon as they are in place."""
        files = config.accept(month_files(context, service, tlc, database.lake))
        report = TripReport(context, service)
        remove_left_overs(context, database.lake)
        fetcher = Fetcher(refusals(service, tlc, database.lake), tlc.backoff)
        fetch = fetcher.fetch if report.fetches_files else stored_file
        cores = database.cores
        options = duckdb_options(len(files), cores)
        claims = Claims(database.lake.root.loads / service.table.name, context.instance)
        with (
            claims.hold(context, context.partition_keys),
            database.get_connection(tables=[], options=options) as con,
        ):
            loader = MonthLoader(con, service, database.lake) if report.loads_rows else None
            for month in load_concurrently(files, fetch, loader, at_once=cores):
                report.record(con, month)
            report.revise(fetcher.final)  # whether the publisher blocks may show at the end only
        tlc.retry_transient_errors(context, [month.error for month in report.months])
        yield from check_results(database, service, report)
        publish(database, report)

    return fetch_and_load


def file_spec(service: Service) -> dg.AssetSpec:
    """`taxi_trips_file`, or that of another service."""
    return dg.AssetSpec(
        service.file_asset,
        description=f"TLC's {service.name} trips of a month, as published: a Parquet file "
        f"`raw/{service.asset}_2023-03.parquet`, and beside it where it came from.",
        group_name=keys.RAW_FILES,
        kinds={"parquet"},
        skippable=True,
        code_version=code_version(download, published_files),
    )


def table_spec(service: Service) -> dg.AssetSpec:
    """`taxi_trips`, or that of another service."""
    table = service.table
    return dg.AssetSpec(
        service.table_asset,
        deps=[service.file_asset],
        description=f"Table `{table.name}`: the {service.name} trips of a month's "
        f"file under canonical column names. {service.description}",
        group_name=keys.INGESTED,
        kinds={"duckdb", "parquet"},
        skippable=True,
        code_version=code_version(
            *(conform, parquet_schema, placement, quality, table.fingerprint_source)
        ),
        metadata={
            "dagster/column_schema": table.dagster_schema(),
            "dagster/column_lineage": column_lineage(
                {
                    column: [(service.file_asset, name) for name in names]
                    for column, names in table.origins().items()
                }
            ),
        },
    )


def month_files(
    context: dg.AssetExecutionContext, service: Service, tlc: TlcSource, lake: Lake
) -> list[MonthFile]:
    """Where the files of a run's months are published, and where they are stored."""
    return [
        MonthFile(
            partition,
            path=services.raw_file(service, lake.root, partition),
            address=tlc.trips_address(service.name, partition[:7]),
            run_id=context.run.run_id,
        )
        for partition in context.partition_keys
    ]


def refusals(service: Service, tlc: TlcSource, lake: Lake) -> Refusals:
    """The refusals of the publisher; what is in the lake is known to be published."""
    return Refusals(
        tlc.publisher, lambda: lake.snapshot().files(service.table), datetime.now(UTC).date()
    )


@dataclass(frozen=True)
class MonthLoader:
    """Loads months of a service, or puts them back, each by a separate cursor."""

    con: duckdb.DuckDBPyConnection
    service: Service
    lake: Lake
    _cursors: list[duckdb.DuckDBPyConnection] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def load(self, file: MonthFile) -> LoadedMonth:
        """Load a month; for an implausible file, the error says how to accept it."""
        service = self.service
        with self._cursor() as con:
            try:
                if file.version is not None:
                    return loading.roll_back(con, self.lake, service.table, file)
                return loading.load(con, self.lake, service.table, file)
            except Implausible as error:
                raise Implausible(
                    f"{error} If the file is right, materialize {service.asset} of {file.month} "
                    f"from the launchpad with the config {{ops: {{{service.asset}: {{config: "
                    f'{{accept_months: ["{file.month}"]}}}}}}}}.'
                ) from error

    def interrupt(self) -> None:
        """Interrupt the queries of the loads in progress: these raise duckdb.InterruptException."""
        with self._lock:
            for cursor in self._cursors:
                cursor.interrupt()

    @contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self.con.cursor() as cursor:
            with self._lock:
                self._cursors.append(cursor)
            try:
                yield cursor
            finally:
                with self._lock:
                    self._cursors.remove(cursor)


def remove_left_overs(context: dg.AssetExecutionContext, lake: Lake) -> None:
    """Remove temporary files that killed processes have left below the data root."""
    for file in storage.sweep(lake.root):
        context.log.info(f"removed {file}, which a killed process had left")


def publish(database: LakeDatabase, report: TripReport) -> None:
    """Publish the lake's views, then fail the step if a month has failed.

    A damaged file of another month, which publishing may find, hides no month's failure.
    """
    try:
        if report.loads_rows:
            database.publish()
    finally:
        report.raise_failures()
