"""Trips: TLC's monthly file to `raw/`, and from there into the lake's table.

Both assets of a service are one step: a month is loaded while the next ones are still on their
way, and a month that fails holds up no other.
"""

import threading
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

import dagster as dg
import duckdb
from pydantic import Field

from ingestion.defs.resources import TlcSource
from ingestion.defs.trip_checks import check_results, check_specs, not_described
from ingestion.lib import conform, download, months, placement, quality, shapes
from ingestion.lib.conform import DamagedFile, LayoutError
from ingestion.lib.download import Blocked, Forbidden, NotPublished, SourceMetadata
from ingestion.lib.months import Fetched, Implausible, Loaded, Month, Source
from ingestion.lib.publication import Refusals
from taxi_shared import keys, storage
from taxi_shared.database import LakeDatabase
from taxi_shared.lake import Lake, parquet_rows
from taxi_shared.lineage import column_lineage
from taxi_shared.partitions import monthly
from taxi_shared.ranges import RangeReport
from taxi_shared.tables import GREEN_FIRST_MONTH, GREEN_TRIPS, TRIPS, Table
from taxi_shared.versions import code_version


@dataclass(frozen=True)
class Service:
    """One of TLC's services, `name` in the names of its files, with its assets and its table.

    `first_month` is that of its first file. Another service is another description like these, and
    one of its table.
    """

    name: str
    file_asset: dg.AssetKey
    table_asset: dg.AssetKey
    table: Table
    raw_prefix: str
    first_month: str

    @property
    def step(self) -> str:
        """The name of the step that makes both assets."""
        return f"{self.name}_trips"

    @property
    def assets(self) -> list[dg.AssetKey]:
        return [self.file_asset, self.table_asset]

    def months_so_far(self, now: datetime) -> list[str]:
        """The partitions of months that are over and of which there may be a file."""
        months = monthly().get_partition_keys(current_time=now)
        return [month for month in months if month[:7] >= self.first_month]

    def source(self, tlc: TlcSource, lake: Lake, partition: str) -> Source:
        """Where the file of a partition comes from, and where it goes."""
        month = partition[:7]
        path = lake.root.raw / f"{self.raw_prefix}_{month}.parquet"
        return Source(partition, tlc.trips_address(self.name, month), path)


YELLOW = Service("yellow", keys.TAXI_TRIPS_FILE, keys.TAXI_TRIPS, TRIPS, "taxi_trips", "2009-01")
GREEN = Service(
    "green",
    keys.GREEN_TRIPS_FILE,
    keys.GREEN_TRIPS,
    GREEN_TRIPS,
    "green_trips",
    GREEN_FIRST_MONTH,
)


class TripsConfig(dg.Config):
    """What a person may choose in the launchpad for one run."""

    accept_months: list[str] = Field(
        default=[],
        description="Months, such as 2023-03, whose files are loaded though they look implausible: "
        "with far fewer rows than expected, or mostly those of other months.",
    )

    def check(self, partitions: Sequence[str]) -> None:
        """Raise dagster.Failure for anything but months of a run's partitions."""
        expected = [partition[:7] for partition in partitions]
        if others := [month for month in self.accept_months if month not in expected]:
            raise dg.Failure(
                f"accept_months has {', '.join(others)}; expected months of this run: "
                f"{', '.join(expected)}",
                allow_retries=False,
            )


def trip_assets(service: Service) -> dg.AssetsDefinition:
    """The file asset and the table asset of a service."""

    @dg.multi_asset(
        name=service.step,
        specs=[
            dg.AssetSpec(
                service.file_asset,
                description=f"TLC's {service.name} trips of a month, as published: a Parquet file "
                f"`raw/{service.raw_prefix}_2023-03.parquet`, and beside it where it came from.",
                group_name=keys.RAW_FILES,
                kinds={"parquet"},
                skippable=True,
                code_version=code_version(download),
            ),
            dg.AssetSpec(
                service.table_asset,
                deps=[service.file_asset],
                description=f"Table `{service.table.name}`: the {service.name} trips of a month's "
                "file under canonical column names, in the order of the file.",
                group_name=keys.INGESTED,
                kinds={"duckdb", "parquet"},
                skippable=True,
                code_version=code_version(conform, placement, shapes, quality, service.table.logic),
                metadata={
                    "dagster/column_schema": service.table.dagster_schema(),
                    "dagster/column_lineage": column_lineage(
                        {
                            column: [(service.file_asset, name) for name in names]
                            for column, names in service.table.origins().items()
                        }
                    ),
                },
            ),
        ],
        check_specs=check_specs(service.table_asset, service.table),
        pool=service.table.name,
        partitions_def=monthly(),
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,
    )
    def assets(
        context: dg.AssetExecutionContext,
        config: TripsConfig,
        tlc: TlcSource,
        database: LakeDatabase,
    ) -> Iterator[dg.AssetCheckResult]:
        config.check(context.partition_keys)
        sources = [service.source(tlc, database.lake, key) for key in context.partition_keys]
        report = RangeReport(context)
        for left_over in storage.sweep(database.lake.root):
            context.log.info(f"removed {left_over}, which a killed process had left")
        selected = context.selected_asset_keys
        # A month is one thread's: its rows stream through in the order of TLC's file, and several
        # months are loaded at once. No file is kept in memory for a second read.
        one_pass = {"threads": 1, "enable_external_file_cache": False}
        with database.get_connection(tables=[], options=one_pass) as con:
            now = datetime.now(UTC).date()
            refusals = Refusals(tlc.publisher, partial(database.lake.versions, service.table), now)
            fetch = partial(_fetch, service, tlc, refusals, selected)
            load = partial(_load, con, service, database.lake, selected, config)
            brought = []
            for month in months.side_by_side(sources, fetch, load):
                _report(con, report, service, month)
                brought.append(month)
        block = refusals.block(is_final=True)
        if block:  # a month may have been refused before a newer one was found
            for month in brought:
                if isinstance(month.fetched.error, Forbidden | Blocked):
                    report.failed(month.source.partition, block)
        tlc.retry_what_may_pass(context, [block, *(m.fetched.error for m in brought)])
        if selected_checks := context.selected_asset_check_keys:
            days = [service.table.days] if service.table.days else []
            with database.get_connection(tables=days) as con:  # which has what was loaded
                undescribed = _undescribed_at_hand(con, service, database.lake)
                yield from check_results(con, service.table, brought, undescribed, selected_checks)
        try:
            if service.table_asset in selected:
                database.publish()
        finally:  # a damaged file of another month hides no month's failure
            report.raise_failures()

    return assets


def _fetch(
    service: Service,
    tlc: TlcSource,
    refusals: Refusals,
    selected: Set[dg.AssetKey],
    source: Source,
    stop: threading.Event,
) -> Fetched:
    """A month's file: fetched if that is selected, otherwise the one in `raw/`.

    Nothing more is fetched from a publisher that blocks this address.
    """
    if service.file_asset not in selected:
        return months.fetched_before(source)
    if block := refusals.block(is_final=False):
        return Fetched(None, block, 0.0, changed=False)
    fetched = months.fetch(source, tlc.backoff, stop)
    return replace(fetched, error=refusals.judge(source.partition, fetched.error))


def _load(
    con: duckdb.DuckDBPyConnection,
    service: Service,
    lake: Lake,
    selected: Set[dg.AssetKey],
    config: TripsConfig,
    source: Source,
    fetched: Fetched,
) -> Month:
    """A month's rows, if they are selected and the file is there."""
    metadata = fetched.metadata
    if metadata is None or service.table_asset not in selected:
        return Month(source, fetched)
    is_accepted = source.month in config.accept_months
    try:
        with con.cursor() as cursor:
            loaded = months.load(
                *(cursor, lake, service.table, source),
                *(metadata.sha256, metadata.address, is_accepted),
            )
    except DamagedFile as error:
        return Month(source, fetched, error=_discarded(source, error))
    except Implausible as error:
        return Month(
            source, fetched, error=Implausible(f"{error} {_how_to_accept(service, source)}")
        )
    except Exception as error:  # this month's, whatever it is: the others go on
        return Month(source, fetched, error=error)
    return Month(source, fetched, loaded)


def _discarded(source: Source, error: Exception) -> DamagedFile:
    """Let the next load fetch a damaged file again; the error that says so."""
    download.discard(source.path)
    return DamagedFile(f"{error}; it is fetched again at the next load")


def _how_to_accept(service: Service, source: Source) -> str:
    return (
        f"If the file is right, materialize {service.table_asset.to_user_string()} of "
        f"{source.month} from the launchpad with the config {{ops: {{{service.step}: {{config: "
        f'{{accept_months: ["{source.month}"]}}}}}}}}.'
    )


def _report(
    con: duckdb.DuckDBPyConnection, report: RangeReport, service: Service, month: Month
) -> None:
    """Report a month's file and rows."""
    partition, fetched, loaded = month.source.partition, month.fetched, month.loaded
    if fetched.metadata is None:
        report.failed(partition, _explained(service, month))
        return
    if service.file_asset in report.context.selected_asset_keys:
        try:
            rows = parquet_rows(con, month.source.path)
        except duckdb.Error as error:
            damaged = DamagedFile(f"{month.source.path} is damaged: {error}")
            report.failed(partition, month.error or _discarded(month.source, damaged))
            return
        _report_file(report, service, month.source, fetched, fetched.metadata, rows)
    if month.error:
        report.failed(partition, month.error)
    if loaded:
        _report_rows(report, service, month.source, loaded)


def _report_file(
    report: RangeReport,
    service: Service,
    source: Source,
    fetched: Fetched,
    metadata: SourceMetadata,
    rows: int,
) -> None:
    report.context.log.info(
        f"{source.path.name}: {metadata.bytes / 1e6:.1f} MB "
        f"{'fetched' if fetched.changed else 'unchanged'} in {fetched.seconds:.1f} s"
    )
    report.done(
        service.file_asset,
        source.partition,
        metadata.sha256,
        {
            "dagster/row_count": rows,
            "bytes": metadata.bytes,
            "seconds": round(fetched.seconds, 3),
            "sha256": metadata.sha256,
            "source": metadata.address,
        },
    )


def _report_rows(report: RangeReport, service: Service, source: Source, loaded: Loaded) -> None:
    report.context.log.info(
        f"{service.table.name} {source.month}: {loaded.rows:,} rows "
        f"{'loaded' if loaded.changed else 'unchanged'} in {loaded.seconds:.1f} s"
    )
    report.done(
        service.table_asset,
        source.partition,
        loaded.version,
        {
            "dagster/row_count": loaded.rows,
            "bytes": loaded.bytes,
            "seconds": round(loaded.seconds, 3),
            "source": loaded.publisher,
            **loaded.quality,
            "columns not loaded": list(loaded.unknown_columns),
            "first rows": loaded.first_rows,
        },
    )
    if loaded.unknown_columns:
        report.context.log.warning(not_described({source.month: loaded.unknown_columns}))


def _explained(service: Service, month: Month) -> Exception:
    error = month.fetched.error
    if isinstance(error, NotPublished):
        return NotPublished(
            f"TLC has not published the {service.name} trips of {month.source.month}: {error}"
        )
    return error or RuntimeError("nothing was fetched")


def _undescribed_at_hand(
    con: duckdb.DuckDBPyConnection, service: Service, lake: Lake
) -> dict[str, tuple[str, ...]]:
    """The columns that nobody has described, by month: of all files at hand, lest the warning of
    one should disappear when another is loaded."""
    found = {}
    for file in sorted(lake.root.raw.glob(f"{service.raw_prefix}_*.parquet"), key=str):
        month = file.stem[-7:]
        try:
            found[month] = months.unknown_columns(con, file, service.table, month)
        except LayoutError:
            continue  # told when that month was loaded
    return {month: columns for month, columns in found.items() if columns}


yellow_trips = trip_assets(YELLOW)
green_trips = trip_assets(GREEN)
