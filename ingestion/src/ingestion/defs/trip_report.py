"""What a run over months of trips records of each: materializations, log lines and failures."""

from collections.abc import Callable
from dataclasses import dataclass, field

import dagster as dg
import duckdb

from ingestion.lib.download import Download
from ingestion.lib.loading import LoadedMonth
from ingestion.lib.months import MonthResult
from ingestion.lib.parquet_schema import DamagedFile
from ingestion.lib.published_files import NotPublished
from taxi_shared.lake import parquet_rows
from taxi_shared.ranges import RangeReport
from taxi_shared.services import Service


def unknown_columns_message(columns: dict[str, tuple[str, ...]]) -> str:
    """A sentence on the columns of files, by month, that the platform does not describe."""
    found = "; ".join(f"{month}: {', '.join(names)}" for month, names in columns.items())
    return (
        "TLC's files have columns that are not described in taxi_shared.tables and not loaded: "
        f"{found}"
    )


@dataclass
class TripReport:
    """The months of a run so far, recorded as each of them is finished."""

    context: dg.AssetExecutionContext
    service: Service
    months: list[MonthResult] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._partitions = RangeReport(self.context)

    @property
    def fetches_files(self) -> bool:
        """Whether the run fetches files."""
        return self.service.file_asset in self.context.selected_asset_keys

    @property
    def loads_rows(self) -> bool:
        """Whether the run loads rows."""
        return self.service.table_asset in self.context.selected_asset_keys

    def record(self, con: duckdb.DuckDBPyConnection, month: MonthResult) -> None:
        """Record a month's file and rows, or its error."""
        self.months.append(month)
        if month.download and self.fetches_files:
            try:
                rows = parquet_rows(con, month.file.path)
            except duckdb.Error as error:
                damage = DamagedFile(f"{month.file.path} is damaged: {error}")
                self._failed(month, month.error or month.file.discard(damage))
                return
            self._record_file(month, month.download, rows)
        if month.error:
            self._failed(month, month.error)
        if month.loaded:
            self._record_rows(month, month.loaded)

    def revise(self, final: Callable[[MonthResult], MonthResult]) -> None:
        """Record months again whose error is another one after all months were requested."""
        previous, self.months = self.months, [final(month) for month in self.months]
        for before, month in zip(previous, self.months, strict=True):
            if month.error and month.error is not before.error:
                self._failed(month, month.error)

    def raise_failures(self) -> None:
        """Raise dagster.Failure with the error of every month that failed, if any did."""
        self._partitions.raise_failures()

    def _failed(self, month: MonthResult, error: Exception) -> None:
        if isinstance(error, NotPublished):
            error = NotPublished(
                f"TLC has not published the {self.service.name} trips of {month.file.month}: "
                f"{error}"
            )
        self._partitions.failed(month.file.partition, error)

    def _record_file(self, month: MonthResult, download: Download, rows: int) -> None:
        metadata = download.metadata
        self.context.log.info(
            f"{month.file.path.name}: {metadata.bytes / 1e6:.1f} MB "
            f"{'fetched' if download.fetched else 'unchanged'} in {month.seconds:.1f} s"
        )
        self._partitions.done(
            self.service.file_asset,
            month.file.partition,
            metadata.sha256,
            {
                "dagster/row_count": rows,
                "bytes": metadata.bytes,
                "seconds": round(month.seconds, 3),
                "sha256": metadata.sha256,
                "source": metadata.address,
            },
        )

    def _record_rows(self, month: MonthResult, loaded: LoadedMonth) -> None:
        change = "loaded" if loaded.changed else "unchanged"
        if month.file.version is not None:
            change = f"rolled back to version {month.file.version}"
        self.context.log.info(
            f"{self.service.table.name} {month.file.month}: {loaded.rows:,} rows {change} in "
            f"{loaded.seconds:.1f} s"
        )
        self._partitions.done(
            self.service.table_asset,
            month.file.partition,
            loaded.version,
            {
                "dagster/row_count": loaded.rows,
                "bytes": loaded.bytes,
                "seconds": round(loaded.seconds, 3),
                "source": loaded.publisher,
                **({} if loaded.table_version is None else {"version": loaded.table_version}),
                **loaded.quality,
                "columns not loaded": list(loaded.unknown_columns),
                "first rows": loaded.first_rows,
            },
        )
        if loaded.unknown_columns:
            self.context.log.warning(
                unknown_columns_message({month.file.month: loaded.unknown_columns})
            )
