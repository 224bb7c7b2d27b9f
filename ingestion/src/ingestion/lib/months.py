"""Months of trip files: fetched side by side, each loaded as soon as it is there.

A month that fails does not hold up the others, and a month that is already done is not done again.
"""

import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
from upath import UPath

from ingestion.lib import conform
from ingestion.lib.download import Patience, Receipt, download, is_parquet
from ingestion.lib.placement import ZoneShapes, placed
from taxi_shared.lake import Lake
from taxi_shared.tables import Table

DOWNLOADS_AT_ONCE = 4


class LoadError(Exception):
    """A file could not be loaded, mostly because its content is damaged."""


@dataclass(frozen=True)
class Source:
    """Where a month's file is published, and where it goes."""

    partition: str
    address: str
    path: UPath

    @property
    def month(self) -> str:
        return self.partition[:7]


@dataclass(frozen=True)
class Fetched:
    """The outcome of fetching a month: a receipt or an error, and the seconds it took.

    `changed` is False where the file was there already.
    """

    source: Source
    receipt: Receipt | None
    error: Exception | None
    seconds: float
    changed: bool


@dataclass(frozen=True)
class Loaded:
    """A month in the lake. `changed` is False where the lake held this very content before."""

    rows: int
    bytes: int
    seconds: float
    unknown_columns: tuple[str, ...]
    changed: bool


def fetch(sources: Sequence[Source], patience: Patience) -> Iterator[Fetched]:
    """Fetch months side by side; yields each when it is done or has failed."""
    stop = threading.Event()

    def one(source: Source) -> Fetched:
        begin = time.perf_counter()
        try:
            done = download(
                source.address, source.path, check=is_parquet, patience=patience, stop=stop
            )
        except Exception as error:  # whatever it is, it is this month's; the caller reports it
            return Fetched(source, None, error, time.perf_counter() - begin, changed=False)
        return Fetched(source, done.receipt, None, time.perf_counter() - begin, done.fetched)

    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE, thread_name_prefix="download") as pool:
        futures = [pool.submit(one, source) for source in sources]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def fetched_before(sources: Sequence[Source]) -> Iterator[Fetched]:
    """Months whose files are at hand; one that is not is an error that says what to do."""
    for source in sources:
        receipt = Receipt.of(source.path)
        error = (
            None
            if receipt
            else FileNotFoundError(
                f"{source.path} is not there or not whole: materialize the file's asset first"
            )
        )
        yield Fetched(source, receipt, error, 0.0, changed=False)


def load(
    con: duckdb.DuckDBPyConnection, lake: Lake, table: Table, source: Source, sha256: str
) -> Loaded:
    """Replace a month of `table` by the raw file at `source.path`, whose content has that hash.

    The file is left alone where it was made from the same content by the same SQL, and by the same
    zones where its trips have points instead of zones. Raises LayoutError where the file's columns
    are not those of its month, ValueNotReadable for a value that does not fit, LoadError for
    a file that is damaged, and ZonesMissing; the lake then keeps what it had.
    """
    begin = time.perf_counter()
    file, partition = str(source.path), source.partition
    conformed = conform.conform(file, conform.schema_of(con, file), table, source.month)
    zones = ZoneShapes.of(con) if conformed.placements else None
    made_from = hashlib.sha256(
        f"{sha256} {conformed.query} {zones.fingerprint if zones else ''}".encode()
    ).hexdigest()
    tables = (table, table.days) if table.days else (table,)
    changed = any(lake.note(con, t, partition) != made_from for t in tables)
    if changed:
        try:
            with _rows_to_sort(con, zones, conformed, source.path) as (select, parameters):
                lake.write(con, table, conformed.in_order(select), parameters, partition, made_from)
        except (duckdb.ConversionException, duckdb.OutOfRangeException) as error:
            reason = conform.first_unreadable(con, file, conformed)
            raise conform.ValueNotReadable(reason) from error
        except duckdb.Error as error:  # which often does not say of which file it speaks
            raise LoadError(
                f"{file} could not be loaded into {table.name}: {error}; if the file is damaged, "
                "delete it, and materialize it again"
            ) from error
        if table.days:
            _write_days(con, lake, table, partition, made_from)
    rows, size = lake.size(con, table, partition)
    return Loaded(rows, size, time.perf_counter() - begin, conformed.unknown_columns, changed)


def unknown_columns(
    con: duckdb.DuckDBPyConnection, file: UPath, table: Table, month: str
) -> tuple[str, ...]:
    """The columns of a month's file that nobody has described. Raises LayoutError."""
    return conform.conform(
        str(file), conform.schema_of(con, str(file)), table, month
    ).unknown_columns


@contextmanager
def _rows_to_sort(
    con: duckdb.DuckDBPyConnection,
    zones: ZoneShapes | None,
    conformed: conform.Conformed,
    file: UPath,
) -> Iterator[tuple[str, dict[str, object]]]:
    """A query of the month's rows, and its parameters.

    Rows with points are placed beforehand: the tables that place them and the sort of a large month
    do not fit side by side in the memory that DuckDB is given.
    """
    if zones is None:
        yield conformed.rows, {"file": str(file)}
        return
    with placed(
        con, zones, conformed.placements, file, conformed.rows, conformed.points
    ) as pattern:
        yield "SELECT * FROM read_parquet($placed)", {"placed": pattern}


def _write_days(
    con: duckdb.DuckDBPyConnection, lake: Lake, table: Table, partition: str, note: str
) -> None:
    assert table.days is not None
    lake.write(
        con,
        table.days,
        "SELECT pickup_date, count(*) AS num_trips FROM read_parquet($file) "
        "GROUP BY pickup_date ORDER BY pickup_date",
        {"file": str(lake.file(table, partition))},
        partition,
        note,
    )
